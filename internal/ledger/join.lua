-- Makes staged segments part of a loading job, all or none. Before it stands hold.lua, with keys and answers.
-- ARGV[4] version of the content from now on
-- ARGV[5] targets of the job from now on
-- ARGV[6] number of the first segment  ARGV[7] name of the one that it replaces, '' = none
-- ARGV[8] names of the last segment (never staged)
-- ARGV[9..] names of segments
if redis.call('HGET', KEYS[1], 'v') == ARGV[4] then return {'done'} end -- this very call, repeated
local why = barred()
if why then return why end
local first, n = tonumber(ARGV[6]), #ARGV - 8
if redis.call('HLEN', KEYS[2]) ~= first + n - 1 + (ARGV[7] ~= '' and 1 or 0) then return {'lost'} end
touch()
redis.call('HSET', KEYS[1], 'v', ARGV[4], 'total', ARGV[5], 'pending', ARGV[5])
if ARGV[7] ~= '' then
  redis.call('ZREM', KEYS[4], ARGV[7])
  if n > 1 then -- its successor was staged beside it
    redis.call('HSET', KEYS[2], first, redis.call('HGET', KEYS[2], first .. '+'))
    redis.call('HDEL', KEYS[2], first .. '+')
  end
end
redis.call('HSET', KEYS[2], first + n - 1, ARGV[8])
for i = 1, n do
  redis.call('ZADD', KEYS[4], first + i - 1, ARGV[8 + i]) -- as in seal.lua
end
return {'done'}
