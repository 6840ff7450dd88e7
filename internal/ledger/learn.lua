-- Keeps what the API's answers have told of its limits, for a while.
-- KEYS[1] learned: hash of a target type -> most targets of a call, and of
--   refused -> bytes of the smallest body that was too large
--   accepted -> bytes of the largest body below that which was not
-- ARGV[1] ms after which it is forgotten, from the last news on
-- ARGV[2] target type  ARGV[3] most targets, 0 = nothing was told
-- ARGV[4] bytes of a body that was too large, 0 = none was  ARGV[5] bytes of one that was not
local function have(field) return tonumber(redis.call('HGET', KEYS[1], field) or 0) end
local function learn(field, number)
  redis.call('HSET', KEYS[1], field, number)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
local most, refused, accepted = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if most > 0 and (have(ARGV[2]) == 0 or most < have(ARGV[2])) then
  learn(ARGV[2], most)
end
if refused > 0 and (have('refused') == 0 or refused < have('refused')) then
  learn('refused', refused)
  if have('accepted') >= refused then redis.call('HDEL', KEYS[1], 'accepted') end -- the limit was lowered
end
if refused == 0 and accepted >= have('refused') then
  redis.call('HDEL', KEYS[1], 'refused', 'accepted') -- there is no such limit, or no more
elseif accepted < have('refused') and accepted > have('accepted') then
  learn('accepted', accepted)
end
return 1
