-- Stands before the scripts by which the holder of the right to add to a loading job writes.
-- KEYS[1] job  KEYS[2] names  KEYS[3] lock  KEYS[4] free
-- ARGV[1] token  ARGV[2] version of the content that the holder knows  ARGV[3] ms that the right is held from now on
-- They answer {verdict, value}: 'done'; 'gone' and 'state' (the job's) where nothing can be added any more;
-- 'fenced' where the right is lost; 'lost' where what was staged is.

local function barred()
  local job = redis.call('HMGET', KEYS[1], 'state', 'v')
  if not job[1] then return {'gone'} end
  if job[1] ~= 'loading' then return {'state', job[1]} end
  if redis.call('GET', KEYS[3]) ~= ARGV[1] or job[2] ~= ARGV[2] then return {'fenced'} end
end

-- Something has come: both the right and the job stay for longer. A full Redis refuses scripts that begin with this.
local function touch()
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'idle_at', t[1] * 1000 + math.floor(t[2] / 1000) + redis.call('HGET', KEYS[1], 'idle'))
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
