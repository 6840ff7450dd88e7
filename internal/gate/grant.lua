-- May one call with this many targets go now? One answer for the whole fleet, by Redis's clock.
-- KEYS[1] state of this target type: hash
-- KEYS[2..] one list for each quota: the calls of the running window, "time cost sum", oldest first
-- ARGV[1] us within which a probe must have reported, else the next one goes
-- ARGV[2..] three for each quota: window in us, limit, cost of this call
-- Answers {1 = go, us to wait, reason, 1 = this call is a probe}.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local state = redis.call('HMGET', KEYS[1], 'reason', 'until', 'paced')
local reason, due = state[1], tonumber(state[2] or 0)
if reason and due > now then
  return {0, due - now, reason, 0}
end

local function parse(entry)
  local at, cost, sum = string.match(entry, '^(%d+) (%d+) (%d+)$')
  return tonumber(at), tonumber(cost), tonumber(sum)
end

local wait, sums = 0, {}
for i = 2, #KEYS do
  local window, limit, cost = tonumber(ARGV[3 * i - 4]), tonumber(ARGV[3 * i - 3]), tonumber(ARGV[3 * i - 2])
  local first = redis.call('LINDEX', KEYS[i], 0)
  -- A call a whole window ahead was made before the clock was set back: it would bar the way for long.
  while first and math.abs(now - parse(first)) >= window do
    redis.call('LPOP', KEYS[i])
    first = redis.call('LINDEX', KEYS[i], 0)
  end
  sums[i] = 0
  if first then
    local first_at, first_cost, first_sum = parse(first)
    local _, _, last_sum = parse(redis.call('LINDEX', KEYS[i], -1))
    sums[i] = last_sum
    local used = last_sum - first_sum + first_cost
    if used + cost > limit then
      -- Sums only grow: search for the first call after whose end this one fits.
      local low, high = 0, redis.call('LLEN', KEYS[i]) - 1
      while low < high do
        local mid = math.floor((low + high) / 2)
        local _, _, sum = parse(redis.call('LINDEX', KEYS[i], mid))
        if last_sum - sum + cost <= limit then high = mid else low = mid + 1 end
      end
      -- Calls leave the list at its head, so never before the first (times may fall where the clock was set back).
      wait = math.max(wait, math.max(first_at, (parse(redis.call('LINDEX', KEYS[i], low)))) + window - now)
    end
  end
end
if wait > 0 then
  if wait > 1000000 then
    redis.call('HSETNX', KEYS[1], 'paced_since', string.format('%.0f', now))
    redis.call('HSET', KEYS[1], 'paced', string.format('%.0f', now + wait))
    if not reason then redis.call('PEXPIRE', KEYS[1], math.ceil(wait / 1000) + 1000) end
  end
  return {0, wait, reason or 'quota', 0}
end

for i = 2, #KEYS do
  local window, cost = ARGV[3 * i - 4], tonumber(ARGV[3 * i - 2])
  redis.call('RPUSH', KEYS[i], string.format('%.0f %d %.0f', now, cost, sums[i] + cost))
  redis.call('PEXPIRE', KEYS[i], math.ceil(window / 1000) + 1000)
end
if state[3] then
  redis.call('HDEL', KEYS[1], 'paced', 'paced_since')
end
if reason then -- the hold has run out: one call tries whether its cause is gone
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[1]))
  return {1, 0, reason, 1}
end
return {1, 0, '', 0}
