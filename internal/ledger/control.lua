-- Pauses, resumes or cancels a job that has not ended; one that is loading can only be cancelled. A state that is as wanted stays as it is.
-- Before it stands tidy.lua.
-- KEYS[1] job  KEYS[2] names  KEYS[3] free
-- ARGV[1] 'pause', 'resume' or 'cancel'
-- Answers {state before, state now}; {} where there is no such job.
local job = redis.call('HMGET', KEYS[1], 'state', 'send_at')
local was = job[1]
if not was then return {} end
local is = was
local live = was == 'running' or was == 'scheduled'
if ARGV[1] == 'pause' and live then
  is = 'paused'
elseif ARGV[1] == 'cancel' and (live or was == 'paused' or was == 'loading') then
  is = 'cancelled'
elseif ARGV[1] == 'resume' and was == 'paused' then
  local t = redis.call('TIME')
  is = tonumber(job[2] or 0) > t[1] * 1000 + math.floor(t[2] / 1000) and 'scheduled' or 'running'
end
if is ~= was then
  redis.call('HDEL', KEYS[1], '') -- lets a full Redis do it: see checkpoint.lua
  redis.call('HSET', KEYS[1], 'state', is)
  if was == 'loading' then
    redis.call('HDEL', KEYS[1], 'idle_at') -- by which settle.lua knows those that nobody cancelled
    tidy(KEYS[2], KEYS[3])
  end
end
return {was, is}
