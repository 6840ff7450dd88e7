-- How many of these calls may go now? One answer for the whole fleet, by Redis's clock.
-- KEYS[1] state of this target type: hash
-- KEYS[2..] one list for each quota: what was granted in the running window, "time cost sum", oldest first
-- ARGV[1] us within which a probe must have reported, else the next one goes
-- ARGV[2] number of calls N, then N numbers of targets, in the order in which the calls want to go
-- ARGV[3 + N..] three for each quota: window in us, limit, '1' = in targets, else in calls
-- Answers {calls granted, us that the next one has to wait, why it has to, 1 = the one call is a probe,
-- 1 = answers stand in a row that only a success ends: see report.lua}.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local state = redis.call('HMGET', KEYS[1], 'reason', 'until', 'paced', 'rows', 'at')
local reason, due, rows = state[1], tonumber(state[2] or 0), tonumber(state[4] or 0)
if reason and due > now and now >= tonumber(state[5] or 0) then -- else the clock was set back
  return {0, due - now, reason, 0, rows}
end

local function parse(entry)
  local at, cost, sum = string.match(entry, '^(%d+) (%d+) (%d+)$')
  return tonumber(at), tonumber(cost), tonumber(sum)
end

local calls, quotas = tonumber(ARGV[2]), {}
for i = 2, #KEYS do
  local at = 3 * i + calls - 3
  local q = {key = KEYS[i], window = tonumber(ARGV[at]), limit = tonumber(ARGV[at + 1]), targets = ARGV[at + 2] == '1'}
  local first = redis.call('LINDEX', q.key, 0)
  -- A call a whole window ahead was made before the clock was set back: it would bar the way for long.
  while first and math.abs(now - parse(first)) >= q.window do
    redis.call('LPOP', q.key)
    first = redis.call('LINDEX', q.key, 0)
  end
  q.sum, q.used, q.new = 0, 0, 0 -- of all calls ever, of the window, of those granted here
  if first then
    local first_at, first_cost, first_sum = parse(first)
    local _, _, last_sum = parse(redis.call('LINDEX', q.key, -1))
    q.first_at, q.sum, q.used = first_at, last_sum, last_sum - first_sum + first_cost
  end
  quotas[i - 1] = q
end

-- How long a call of this cost has to wait for its quota.
local function wait_for(q, cost)
  if q.used + q.new + cost <= q.limit then return 0 end
  if q.new + cost > q.limit then return q.window end
  -- Sums only grow: search for the first call after whose end this one fits.
  local low, high = 0, redis.call('LLEN', q.key) - 1
  while low < high do
    local mid = math.floor((low + high) / 2)
    local _, _, sum = parse(redis.call('LINDEX', q.key, mid))
    if q.sum - sum + q.new + cost <= q.limit then high = mid else low = mid + 1 end
  end
  -- Calls leave the list at its head, so never before the first (times may fall where the clock was set back).
  return math.max(q.first_at, (parse(redis.call('LINDEX', q.key, low)))) + q.window - now
end

local function cost_of(q, call)
  return q.targets and math.min(tonumber(ARGV[2 + call]), q.limit) or 1
end

redis.call('HDEL', KEYS[1], '') -- lets a full Redis do it: see ledger/checkpoint.lua
local granted, wait = 0, 0
for call = 1, reason and 1 or calls do -- the hold has run out: one call tries whether its cause is gone
  for _, q in ipairs(quotas) do
    wait = math.max(wait, wait_for(q, cost_of(q, call)))
  end
  if wait > 0 then break end
  for _, q in ipairs(quotas) do
    q.new = q.new + cost_of(q, call)
  end
  granted = granted + 1
end

if granted == 0 then
  if wait > 1000000 then
    redis.call('HSETNX', KEYS[1], 'paced_since', string.format('%.0f', now))
    redis.call('HSET', KEYS[1], 'paced', string.format('%.0f', now + wait))
    if not reason and rows == 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(wait / 1000) + 1000) end
  end
  return {0, wait, reason or 'quota', 0, rows}
end
for _, q in ipairs(quotas) do
  redis.call('RPUSH', q.key, string.format('%.0f %d %.0f', now, q.new, q.sum + q.new))
  redis.call('PEXPIRE', q.key, math.ceil(q.window / 1000) + 1000)
end
if state[3] then
  redis.call('HDEL', KEYS[1], 'paced', 'paced_since')
end
if reason then
  local upto = string.format('%.0f', now + ARGV[1])
  redis.call('HSET', KEYS[1], 'until', upto, 'probe', upto, 'at', string.format('%.0f', now))
  return {1, 0, reason, 1, rows}
end
return {granted, wait, wait > 0 and 'quota' or '', 0, rows}
