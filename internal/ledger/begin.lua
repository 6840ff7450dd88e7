-- Makes a job that is loading: visible, without targets.
-- KEYS[1] job  KEYS[2] doc
-- ARGV[1] load (unique to this attempt)
-- ARGV[2] fingerprint of the document
-- ARGV[3] document
-- ARGV[4] ms after which the job ends if nothing is added to it
-- ARGV[5..] pairs of job field and value
-- Answers 'created', 'exists' (begun with the same document) or 'conflict' (other content, or made whole by seal.lua).
local there = redis.call('HMGET', KEYS[1], 'fp', 'dfp', 'load')
if there[1] then
  if there[3] == ARGV[1] then return 'created' end -- this very call, repeated
  return there[2] == ARGV[2] and 'exists' or 'conflict'
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- Until it starts it has no fingerprint that another job could have.
redis.call('HSET', KEYS[1], 'state', 'loading', 'load', ARGV[1], 'fp', '-', 'dfp', ARGV[2], 'created', now,
  'total', 0, 'pending', 0, 'v', ARGV[1], 'idle', ARGV[4], 'idle_at', now + ARGV[4])
redis.call('SET', KEYS[2], ARGV[3])
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 'created'
