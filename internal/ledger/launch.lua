-- Starts a loading job: it runs, or waits for its time. Before it stand tidy.lua and hold.lua, with keys and answers; the value
-- is the state.
-- ARGV[4] fingerprint of the whole content, as seal.lua has it
-- Answers 'empty', too: a job without targets would never finish.
local job = redis.call('HMGET', KEYS[1], 'state', 'fp', 'total', 'send_at')
if job[2] == ARGV[4] and redis.call('GET', KEYS[3]) == ARGV[1] then return {'done', job[1]} end -- this very call, repeated
local why = barred()
if why then return why end
if tonumber(job[3]) == 0 then return {'empty'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = tonumber(job[4] or 0) > now and 'scheduled' or 'running'
redis.call('HSET', KEYS[1], 'state', state, 'fp', ARGV[4], 'launched', now)
redis.call('HDEL', KEYS[1], 'v', 'idle', 'idle_at')
tidy(KEYS[2], KEYS[4])
return {'done', state}
