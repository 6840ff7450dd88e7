-- Takes the right to add to a loading job, if nobody has it. Before it stands tidy.lua.
-- KEYS[1] job  KEYS[2] names  KEYS[3] lock: who has the right  KEYS[4] free
-- ARGV[1] token  ARGV[2] ms that the right is held, unless it is renewed
-- Answers pairs of job field and value, and of 'last' and the name of the newest segment ('' = none); no pair but 'state' where the job is not
-- loading, or none at all where there is none; 'busy' where another one has the right.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return {} end
if state ~= 'loading' then return {'state', state} end
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return {'state', state, 'busy', '1'} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
tidy(KEYS[2], KEYS[4])
local answer = redis.call('HGETALL', KEYS[1])
answer[#answer + 1] = 'last'
answer[#answer + 1] = redis.call('ZREVRANGE', KEYS[4], 0, 0)[1] or ''
return answer
