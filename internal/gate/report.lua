-- What an answer means for all calls of this target type, but for what it says of a quota: see throttle.lua.
-- KEYS[1] state: hash of reason, until and since (us), streak; and of rows, which says that there are any, and
--         row:REASON: answers alike without a success between, "count us-of-the-first alike"; and of probe, the
--         until that a probe has set, and at, the time of the last change
-- KEYS[2] KEYS[3] its paces in calls and in targets: hashes
-- ARGV[2] 'ok' (a success), 'over' (a probe's answer that asks for no hold), 'unused' (a probe that was not made),
--         or the reason to hold  ARGV[3] '1': the call was a probe
-- ARGV[4] us of the first hold, doubled with every probe that fails  ARGV[5] us of the longest
-- ARGV[6] us that the API asked to wait, 0 = it did not say
-- ARGV[7] how many such answers in a row it takes, 0 = one is enough
-- ARGV[8] us after which a quarter of them is enough, 0 = it never is  ARGV[9] what makes them alike;
--         with 'over', the reason of the hold that is over
-- ARGV[10] round of the pace in calls in which it was granted, where fewer calls a second might have been taken, else 0
-- Answers {us for which calls are held, 0 = they are not; 1 = there is a row}.
local key, verdict, probe = KEYS[1], ARGV[2], ARGV[3] == '1'
local first_hold, longest, asked, need, lasting, alike = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]),
  tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
redis.call('HDEL', key, '') -- lets a full Redis do it: see ledger/checkpoint.lua
local state = redis.call('HMGET', key, 'reason', 'until', 'streak')
local reason, due, streak = state[1], tonumber(state[2] or 0), 0

-- A quota that was used up is so no more; how much it holds is learned if a call has just found it open.
local function reopen(found)
  for i = 2, 3 do
    local p = read(KEYS[i])
    if p.out > 0 then
      if found then open(p) else p.out, p.run = 0, 0 end
      write(p)
    end
  end
end

local function go(found)
  redis.call('HDEL', key, 'reason', 'until', 'since', 'streak', 'probe', 'at')
  reopen(found)
end

if verdict == 'ok' then
  redis.call('HDEL', key, 'rows', 'row:rejected', 'row:outage')
  if probe then go(true) end
  return {0, 0}
end
if verdict == 'over' or verdict == 'unused' then
  if verdict == 'over' and reason == alike then
    go(false)
  elseif verdict == 'unused' and reason and state[2] == redis.call('HGET', key, 'probe') then
    redis.call('HSET', key, 'until', 0) -- the next one may go at once
  end
  return {0, redis.call('HEXISTS', key, 'rows')}
end

-- A refusal that a lower rate might have avoided, unless all are refused.
local function shed(count)
  local round = tonumber(ARGV[10])
  if round == 0 then return end
  local p = read(KEYS[2])
  if not count then
    next_round(p)
  elseif round == p.round then
    p.n, p.f = p.n + 1, p.f + 1
  end
  write(p)
end

redis.call('PERSIST', key) -- it may have been no more than pacing, which ends by itself
if verdict ~= 'outage' then redis.call('HDEL', key, 'row:outage') end -- the API has spoken
if need > 0 and reason ~= verdict then
  local count, first, such = string.match(redis.call('HGET', key, 'row:' .. verdict) or '', '^(%d+) (%d+) (.*)$')
  if such ~= alike or now - first > 24 * 3600 * second then count, first = 0, now end
  count, first = count + 1, tonumber(first)
  redis.call('HSET', key, 'rows', 1, 'row:' .. verdict, string.format('%d %.0f %s', count, first, alike))
  if count < need and not (lasting > 0 and now - first >= lasting and count >= need / 4) then
    shed(true)
    if not (probe and reason) then return {0, 1} end
    if verdict ~= 'outage' or reason == 'quota' then -- the cause of the hold is gone
      go(false)
      return {0, 1}
    end
    verdict = reason -- the API was not reached: nothing is known of the cause
  end
end
if reason == verdict and not probe then
  -- It was on its way when the hold began: it says nothing new, but for a longer wait.
  due = math.max(due, now + asked)
else
  if reason == verdict then
    streak = tonumber(state[3] or 0) + 1
  else
    if reason == 'quota' then reopen(false) end
    shed(false)
  end
  local wait = now + math.max(math.min(first_hold * 2 ^ math.min(streak, 30), longest), asked)
  due = probe and wait or math.max(due, wait) -- what the API has asked for stands
  redis.call('HSET', key, 'reason', verdict, 'streak', streak)
  redis.call('HSETNX', key, 'since', string.format('%.0f', now))
end
redis.call('HSET', key, 'until', string.format('%.0f', due), 'at', string.format('%.0f', now))
return {math.max(due - now, 1), redis.call('HEXISTS', key, 'rows')} -- held it is until a probe has passed
