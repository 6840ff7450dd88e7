-- Marks an owner as alive and answers with all that are.
-- KEYS[1] owners: sorted set, owner -> server time of its last beat in ms
-- ARGV[1] owner ('' = only look)
-- ARGV[2] ms after which a silent owner counts as gone
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2]) -- first, since a full Redis refuses scripts that begin with ZADD
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
