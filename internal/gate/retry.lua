-- Try a held call at once, if it is held for one of these reasons.
-- KEYS[1] state of the target type: hash
-- ARGV    reasons
local reason = redis.call('HGET', KEYS[1], 'reason')
for _, wanted in ipairs(ARGV) do
  if reason == wanted then
    redis.call('HDEL', KEYS[1], '') -- lets a full Redis do it: see ledger/checkpoint.lua
    redis.call('HSET', KEYS[1], 'until', 0)
    return 1
  end
end
return 0
