-- Lets a scheduled job run once its time has come.
-- KEYS[1] job
-- Answers 1 if the job runs by this call.
local job = redis.call('HMGET', KEYS[1], 'state', 'send_at')
if job[1] ~= 'scheduled' then return 0 end
local t = redis.call('TIME')
if t[1] * 1000 + math.floor(t[2] / 1000) < tonumber(job[2]) then return 0 end
redis.call('HDEL', KEYS[1], '') -- lets a full Redis do it: see checkpoint.lua
redis.call('HSET', KEYS[1], 'state', 'running')
return 1
