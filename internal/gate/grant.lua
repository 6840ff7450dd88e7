-- How many of these calls may go now? One answer for the whole fleet.
-- KEYS[1] state of this target type: hash
-- KEYS[2] KEYS[3] its paces in calls and in targets: hashes; a job's own cap has none
-- KEYS[..] one list for each known quota: what was granted in the running window, "time cost sum due", oldest first,
--          where due is when the next bulk call may go
-- ARGV[2] us within which a probe must have reported, else the next one goes
-- ARGV[3] '1': urgent calls. They need not keep to the even spacing: what they take of it, bulk calls wait longer
-- ARGV[4] calls a second with which to begin where no limit is known, 0 = the quota is
-- ARGV[5] us by which the asker comes late: calls may then follow each other the closer
-- ARGV[6] number of paces (2 or 0), then for each four numbers on calls that were accepted since the last question:
--         their units; the latest round in which some of them were granted, how many were, and the units of these
-- ..      number of calls N, then N numbers of targets, in the order in which the calls want to go
-- ..      three for each quota: window in us, limit, '1' = in targets, else in calls
-- Answers {calls granted, us that the next one has to wait, why it has to, 1 = the one call is a probe,
-- 1 = answers stand in a row that only a success ends, targets that the last call may have, rounds of the paces}.
local urgent, beginning, late, at = ARGV[3] == '1', tonumber(ARGV[4]), tonumber(ARGV[5]), 6
local function arg()
  at = at + 1
  return tonumber(ARGV[at])
end

redis.call('HDEL', KEYS[1], '') -- lets a full Redis do it: see ledger/checkpoint.lua
local state = redis.call('HMGET', KEYS[1], 'reason', 'until', 'paced', 'rows', 'at', 'urgent')
local reason, due, rows = state[1], tonumber(state[2] or 0), tonumber(state[4] or 0)
local held = reason and due > now and now >= tonumber(state[5] or 0) -- else the clock was set back

local paces = {}
for i = 1, tonumber(ARGV[6]) do
  local p, units, round, calls, got = read(KEYS[1 + i]), arg(), arg(), arg(), arg()
  if p.round == 0 then next_round(p) end
  if i == 1 and beginning > 0 and p.rate == 0 then p.rate, p.grow = beginning, 1 end
  if p.at < now - math.max(10 * second, 2 * p.window) and p.out == 0 then p.open, p.sum, p.run = now, 0, 0 end -- it was idle
  p.sum = p.sum + units
  if units > 0 and p.out == 0 then p.run = 0 end
  if round == p.round then p.n, p.got = p.n + calls, p.got + got end
  judge(p)
  p.unit = i == 1 and function() return 1 end or function(targets) return targets end
  paces[i] = p
end

local function answer(granted, wait, why, probe, last)
  for _, p in ipairs(paces) do write(p) end
  local a, b = paces[1], paces[2]
  return {granted, math.ceil(wait), why, probe, rows, last, a and a.round or 0, b and b.round or 0}
end

if held then return answer(0, due - now, reason, 0, 0) end
local mine = tonumber(state[6] or 0) - now -- urgent calls wait: what becomes free until then is theirs
if not urgent and mine > 0 and mine < second then return answer(0, mine, reason or 'quota', 0, 0) end

local function parse(entry)
  local from, cost, sum, upto = string.match(entry, '^(%d+) (%d+) (%d+) (%d+)$')
  return tonumber(from), tonumber(cost), tonumber(sum), tonumber(upto)
end

local targets, largest, quotas = {}, 0, {}
for i = 1, arg() do
  targets[i] = arg()
  largest = math.max(largest, targets[i])
end
for i = 2 + #paces, #KEYS do
  local q = {key = KEYS[i], window = arg(), limit = arg()}
  at = at + 1
  q.targets = ARGV[at] == '1'
  if not urgent and #paces > 0 then q.limit = q.limit - math.floor(q.limit / 100) end -- the rest is for urgent calls
  local first = redis.call('LINDEX', q.key, 0)
  -- A call a whole window ahead was made before the clock was set back: it would bar the way for long.
  while first and math.abs(now - parse(first)) >= q.window do
    redis.call('LPOP', q.key)
    first = redis.call('LINDEX', q.key, 0)
  end
  q.sum, q.used, q.new, q.due = 0, 0, 0, 0 -- of all calls ever, of the window, of those granted here
  if first then
    local first_at, first_cost, first_sum = parse(first)
    local _, _, last_sum, last_due = parse(redis.call('LINDEX', q.key, -1))
    q.first_at, q.sum, q.used, q.due = first_at, last_sum, last_sum - first_sum + first_cost, math.min(last_due, now + q.window)
  end
  q.cost = function(size) return q.targets and math.min(size, q.limit) or 1 end
  q.takes = function(cost) return cost * q.window / q.limit end -- us, by the even spacing
  quotas[#quotas + 1] = q
end

-- How long a call of this cost has to wait until its window has room.
local function wait_for(q, cost)
  if q.used + q.new + cost <= q.limit then return 0 end
  if q.new + cost > q.limit or not q.first_at then return q.window end
  -- Sums only grow: search for the first call after whose end this one fits.
  local low, high = 0, redis.call('LLEN', q.key) - 1
  while low < high do
    local mid = math.floor((low + high) / 2)
    local _, _, sum = parse(redis.call('LINDEX', q.key, mid))
    if q.sum - sum + q.new + cost <= q.limit then high = mid else low = mid + 1 end
  end
  -- Calls leave the list at its head, so never before the first (times may fall where the clock was set back).
  local from = math.max(q.first_at, (parse(redis.call('LINDEX', q.key, low))))
  return math.min(from - now, q.window) + q.window
end

local function pace_wait(p)
  if p.rate == 0 or reason then return 0 end
  local ahead = urgent and second / 4 + p.lump * second / p.rate or 0
  return math.max(0, p.due - ahead - now)
end

local granted, wait, last = 0, 0, 0
for call = 1, reason and 1 or #targets do -- the hold has run out: one call tries whether its cause is gone
  local size = targets[call]
  local fit = size
  for i, p in ipairs(paces) do
    local w = pace_wait(p)
    if w > 0 then p.bound = 1 end
    wait = math.max(wait, w)
    if p.most > 0 then fit = math.min(fit, math.floor(p.most)) end
    -- Where nothing passes for so long, it is not for the time: a call alone may have more than a window holds.
    if i == 2 and p.out > 0 and p.tries > 5 and (p.sum + p.rate == 0 or now - p.out > 65 * second) then
      fit = math.max(1, math.floor(fit / 2 ^ (p.tries - 5)))
    end
  end
  for _, q in ipairs(quotas) do
    local cost, spacing = q.cost(fit), 0
    if not urgent and not reason then spacing = math.max(0, q.due - now) end
    local w = wait_for(q, cost)
    if q.targets and #paces > 0 then fit = math.min(fit, q.limit) end
    if w > 0 and q.targets and #paces > 0 and not urgent then
      -- Whole calls leave room for less than one. If that costs them time, a smaller one fills it.
      local part, lost = math.ceil(cost / 8), q.due + q.takes(cost) - now
      w = math.min(w, math.max(wait_for(q, part), lost))
      if w <= 0 then fit = math.min(fit, q.limit - q.used - q.new) end
    end
    wait = math.max(wait, w, spacing)
  end
  if wait > 0 then break end
  for i, p in ipairs(paces) do
    local cost = p.unit(fit)
    if p.rate > 0 then p.due = math.max(p.due, now - 0.05 * second - late) + cost * second / p.rate end
    p.flow = p.flow * math.exp(math.min(p.at - now, 0) / (30 * second)) + cost / 30
    p.at, p.given = now, p.given + 1
    if not urgent then p.lump = cost end
    if reason then p.small = fit < size and fit or 0 end
  end
  for _, q in ipairs(quotas) do
    local cost = q.cost(fit)
    q.new = q.new + cost
    -- Whoever comes late may catch up a little: by a call; with targets by two, since whole calls wait for room, or an
    -- eighth of the window, up to a second. Not by more: what has caught up has used its window up early, comes late
    -- again, and so on for ever. Urgent calls are small, and leave bulk calls what these may still catch up.
    local behind = 0.05 * second + q.takes(q.cost(largest))
    if q.targets then behind = math.max(behind, math.min(math.max(2 * behind, q.window / 8), urgent and q.window or second)) end
    q.due = math.max(q.due, now - behind - late) + q.takes(cost)
  end
  granted, last = granted + 1, fit
  if fit < size then
    wait = 1000
    break
  end
end

if granted == 0 then
  if wait > 5 * second then
    redis.call('HSETNX', KEYS[1], 'paced_since', string.format('%.0f', now))
    redis.call('HSET', KEYS[1], 'paced', string.format('%.0f', now + wait))
  end
  if urgent then
    redis.call('HSET', KEYS[1], 'urgent', string.format('%.0f', now + math.min(wait, second / 5) + second / 20))
  end
  if not reason and rows == 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(wait / 1000) + 1000) end
  return answer(0, wait, reason or 'quota', 0, 0)
end
for _, q in ipairs(quotas) do
  redis.call('RPUSH', q.key, string.format('%.0f %d %.0f %.0f', now, q.new, q.sum + q.new, q.due))
  redis.call('PEXPIRE', q.key, math.ceil(q.window / 1000) + 1000)
end
if state[3] then redis.call('HDEL', KEYS[1], 'paced', 'paced_since') end
if urgent and state[6] then redis.call('HDEL', KEYS[1], 'urgent') end
if reason then
  local upto = string.format('%.0f', now + ARGV[2])
  redis.call('HSET', KEYS[1], 'until', upto, 'probe', upto, 'at', string.format('%.0f', now))
  return answer(1, 0, reason, 1, last)
end
return answer(granted, wait, wait > 0 and 'quota' or '', 0, last)
