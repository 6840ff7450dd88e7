-- Makes a loaded job visible, whole, or changes nothing.
-- KEYS[1] job  KEYS[2] doc  KEYS[3] names  KEYS[4] free  KEYS[5] this load's staged segments
-- ARGV[1] load (unique to this attempt)
-- ARGV[2] fingerprint of the content
-- ARGV[3] document
-- ARGV[4] last segment's number  ARGV[5] its names (never staged)
-- ARGV[6] number of segments N, then N names of segments, then pairs of job field and value
-- Answers 'created', 'exists' (same content) or 'conflict' (other content).
local there = redis.call('HMGET', KEYS[1], 'fp', 'load')
if there[1] then
  if there[2] == ARGV[1] then return 'created' end -- this very call, repeated, unless the job has finished already
  redis.call('UNLINK', KEYS[5])
  return there[1] == ARGV[2] and 'exists' or 'conflict'
end
local n = tonumber(ARGV[6])
if n > 1 then
  if redis.call('HLEN', KEYS[5]) ~= n - 1 then return 'lost' end -- staged segments expired or were evicted
  redis.call('RENAME', KEYS[5], KEYS[3])
  redis.call('PERSIST', KEYS[3])
end
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
redis.call('SET', KEYS[2], ARGV[3])
for i = 1, n do
  redis.call('ZADD', KEYS[4], i - 1, ARGV[6 + i]) -- scores are times in ms: the first segments are due since 1970
end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'load', ARGV[1], 'fp', ARGV[2], 'created', t[1] * 1000 + math.floor(t[2] / 1000))
for i = 7 + n, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 'created'
