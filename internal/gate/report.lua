-- What an answer means for all calls of this target type.
-- KEYS[1] state: hash of reason, until and since (us, Redis's clock), streak
-- ARGV[1] 'ok', 'unused' (a probe that was not made), or the reason to hold  ARGV[2] '1': the call was a probe
-- ARGV[3] us of the first hold, doubled with every probe that fails  ARGV[4] us of the longest
-- ARGV[5] us that the API asked to wait, 0 = it did not say
-- Answers the us for which calls are held, 0 = they are not.
if ARGV[1] == 'ok' then
  if ARGV[2] == '1' then redis.call('HDEL', KEYS[1], 'reason', 'until', 'since', 'streak') end
  return 0
end
if ARGV[1] == 'unused' then -- the next one may go at once
  if redis.call('HEXISTS', KEYS[1], 'reason') == 1 then redis.call('HSET', KEYS[1], 'until', 0) end
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local state = redis.call('HMGET', KEYS[1], 'reason', 'until', 'streak')
local due, streak = tonumber(state[2] or 0), 0
if state[1] and ARGV[2] ~= '1' and (state[1] == ARGV[1] or ARGV[1] == 'quota') then
  -- No probe, so it was on its way when the hold began: it says nothing new, but for a longer wait.
  due = math.max(due, now + ARGV[5])
else
  if state[1] == ARGV[1] then streak = tonumber(state[3] or 0) + 1 end
  due = now + math.max(math.min(ARGV[3] * 2 ^ math.min(streak, 30), ARGV[4]), ARGV[5])
  redis.call('HSET', KEYS[1], 'reason', ARGV[1], 'streak', streak)
  redis.call('HSETNX', KEYS[1], 'since', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', due))
redis.call('PERSIST', KEYS[1]) -- it may have been no more than pacing, which ends by itself
return due - now
