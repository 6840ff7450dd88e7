-- A call was refused for a quota. One alone says little: the API may refuse some at any rate. But where none is
-- accepted between several, the quota is used up, and calls are held until one finds it open again.
-- KEYS[1] state of the target type: hash  KEYS[2] its pace in what was used up, calls or targets: hash
-- ARGV[2] '1': the call was a probe  ARGV[3] the pace's round in which it was granted
-- ARGV[4] us that the API asked to wait, 0 = it did not say
-- Answers us for which calls are held, 0 = they are not.
local probe, round, asked = ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('HDEL', KEYS[1], '', 'row:outage') -- the API has spoken
local state = redis.call('HMGET', KEYS[1], 'reason', 'until')
local reason, due = state[1], tonumber(state[2] or 0)
local p = read(KEYS[2])
if p.round == 0 then next_round(p) end
if round == p.round and not (probe and reason == 'quota') then p.n, p.f = p.n + 1, p.f + 1 end
p.told = asked > 0 and 1 or 0
if reason and not probe then -- it was on its way when the hold began: nothing new, but for a longer wait
  write(p)
  due = math.max(due, now + asked)
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', due))
  return math.max(math.ceil(due - now), 1)
end
if reason == 'quota' then
  if p.out == 0 then p.out = now end -- it was the other quota so far
  p.tried, p.tries = now, p.tries + 1
else
  if reason then redis.call('HDEL', KEYS[1], 'reason', 'until', 'since', 'streak', 'probe', 'at') end
  if p.run == 0 then p.first = now end
  p.run = p.run + 1
  if asked == 0 and (p.run < 4 or now - p.first < second / 4) then
    write(p)
    return 0
  end
  p.out, p.tried, p.tries, p.due = p.first, now, 0, now
  if p.most > 0 then p.most = math.max(1, p.most * 0.75) end
end
write(p)
local wait = math.max(0.15 * second, math.min((now - p.out) / 20, 30 * second), asked)
redis.call('PERSIST', KEYS[1]) -- it may have been no more than pacing, which ends by itself
redis.call('HSETNX', KEYS[1], 'since', string.format('%.0f', now))
redis.call('HSET', KEYS[1], 'reason', 'quota', 'until', string.format('%.0f', now + wait), 'at', string.format('%.0f', now))
return math.ceil(wait)
