-- What an answer means for all calls of this target type.
-- KEYS[1] state: hash of reason, until and since (us, Redis's clock), streak; and of rows, which says that there
--         are any, and row:REASON: answers alike without a success between, "count us-of-the-first alike"
--         and of probe, the until that a probe has set, and at, the time of the last change
-- ARGV[1] 'ok' (a success), 'over' (a probe's answer that asks for no hold), 'unused' (a probe that was not made),
--         or the reason to hold  ARGV[2] '1': the call was a probe
-- ARGV[3] us of the first hold, doubled with every probe that fails  ARGV[4] us of the longest
-- ARGV[5] us that the API asked to wait, 0 = it did not say
-- ARGV[6] how many such answers in a row it takes, 0 = one is enough
-- ARGV[7] us after which a quarter of them is enough, 0 = it never is  ARGV[8] what makes them alike;
--         with 'over', the reason of the hold that is over
-- Answers {us for which calls are held, 0 = they are not; 1 = there is a row}.
local key, verdict, probe = KEYS[1], ARGV[1], ARGV[2] == '1'
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local state = redis.call('HMGET', key, 'reason', 'until', 'streak')
local reason, due, streak = state[1], tonumber(state[2] or 0), 0

if verdict == 'ok' then
  redis.call('HDEL', key, 'rows', 'row:rejected', 'row:outage')
  if probe then redis.call('HDEL', key, 'reason', 'until', 'since', 'streak', 'probe', 'at') end
  return {0, 0}
end
if verdict == 'over' or verdict == 'unused' then
  redis.call('HDEL', key, '') -- lets a full Redis do it: see ledger/checkpoint.lua
  if verdict == 'over' and reason == ARGV[8] then
    redis.call('HDEL', key, 'reason', 'until', 'since', 'streak', 'probe', 'at')
  elseif verdict == 'unused' and reason and state[2] == redis.call('HGET', key, 'probe') then
    redis.call('HSET', key, 'until', 0) -- the next one may go at once
  end
  return {0, redis.call('HEXISTS', key, 'rows')}
end

redis.call('PERSIST', key) -- it may have been no more than pacing, which ends by itself
if verdict ~= 'outage' then redis.call('HDEL', key, 'row:outage') end -- the API has spoken
local need = tonumber(ARGV[6])
if need > 0 and reason ~= verdict then
  local count, first, alike = string.match(redis.call('HGET', key, 'row:' .. verdict) or '', '^(%d+) (%d+) (.*)$')
  if alike ~= ARGV[8] or now - first > 24 * 3600 * 1000000 then count, first = 0, now end
  count, first = count + 1, tonumber(first)
  redis.call('HSET', key, 'rows', 1, 'row:' .. verdict, string.format('%d %.0f %s', count, first, ARGV[8]))
  local lasts = tonumber(ARGV[7]) > 0 and now - first >= tonumber(ARGV[7])
  if count < need and not (lasts and count >= need / 4) then
    if not (probe and reason) then return {0, 1} end
    if verdict ~= 'outage' or reason == 'quota' then -- the cause of the hold is gone
      redis.call('HDEL', key, 'reason', 'until', 'since', 'streak', 'probe', 'at')
      return {0, 1}
    end
    verdict = reason -- the API was not reached: nothing is known of the cause
  end
end
if reason and not probe and (reason == verdict or verdict == 'quota') then
  -- No probe, so it was on its way when the hold began: it says nothing new, but for a longer wait.
  due = math.max(due, now + ARGV[5])
else
  if reason == verdict then streak = tonumber(state[3] or 0) + 1 end
  local wait = now + math.max(math.min(ARGV[3] * 2 ^ math.min(streak, 30), ARGV[4]), ARGV[5])
  due = probe and wait or math.max(due, wait) -- what the API has asked for stands
  redis.call('HSET', key, 'reason', verdict, 'streak', streak)
  redis.call('HSETNX', key, 'since', string.format('%.0f', now))
end
redis.call('HSET', key, 'until', string.format('%.0f', due), 'at', string.format('%.0f', now))
return {math.max(due - now, 1), redis.call('HEXISTS', key, 'rows')} -- held it is until a probe has passed
