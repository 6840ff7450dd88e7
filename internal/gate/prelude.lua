-- What the gate's scripts share: the time, and the paces. A pace spreads the calls of a target type evenly, in
-- calls or in targets a second; its rate is learned from what the API refuses. Even spacing keeps within a quota
-- whatever its window is and wherever that begins.
-- ARGV[1] the time in us, '' = Redis's own
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local second = 1000000

local fields = {
  'rate',   -- units a second; 0 = no limit is known
  'due',    -- when the next call may go, by the pace
  'lump',   -- units of the last bulk call
  'flow',   -- units a second that were granted in the last half minute or so: see belief.go
  'at',     -- of the last grant
  'grow',   -- 1 = no limit was met yet: the rate doubles each round
  'round',  -- number of the round: results of calls that were granted before it began say nothing of its rate
  'began',  -- when it did
  'bound',  -- 1 = calls had to wait for the pace in it
  'given',  -- calls granted in the round
  'n', 'f', -- those of them with an answer, and those that were refused
  'got',    -- units of the round that were accepted
  'noise',  -- share of calls that is refused at any rate
  'limit',  -- near which the limit is believed to be, units a second
  'step',   -- by which the rate grows after the next good round above it
  'before', -- the rate before it was cut, until it is known whether that helps; 0 = it is
  'top',    -- the same, before it was cut first
  'refused', -- the share of calls for which it was cut
  'cut_n', 'cut_f', -- calls with an answer since, and those that were refused
  'lower',  -- 1 = it was cut to well below what was accepted
  'window', -- us: the longest time for which calls were refused throughout. The quota's window is no shorter
  'told',   -- 1 = the API asks to wait with what it refuses: then a refusal costs much time
  'run',    -- calls refused with none accepted between
  'first',  -- time of the first of them
  'out',    -- since when the quota is used up, 0 = it is not
  'tried',  -- when a call was last refused since
  'tries',  -- how many were
  'open',   -- when the quota was last found open again after it was used up
  'sum',    -- units accepted since
  'small',  -- targets of the call that found it open, where it had to be cut down; 0 = it had not
  'most',   -- targets of a call above which every one is refused, 0 = none is known
}

local function read(key)
  local v, p = redis.call('HMGET', key, unpack(fields)), {key = key, stored = {}}
  for i, name in ipairs(fields) do
    p[name] = tonumber(v[i]) or 0
    p.stored[name] = p[name]
  end
  -- Else the clock was set back.
  for _, name in ipairs({'at', 'began', 'first', 'out', 'tried', 'open'}) do p[name] = math.min(p[name], now) end
  local longest = p.grow == 1 and 1 or p.rate > 0 and 1 + 2 * p.lump / p.rate or 60
  p.due = math.min(p.due, now + longest * second)
  return p
end

local remember = 30 * 24 * 3600 * 1000 -- ms

local function write(p)
  local args = {}
  for name, value in pairs(p.stored) do
    if p[name] ~= value then
      args[#args + 1] = name
      args[#args + 1] = string.format('%.17g', p[name])
    end
  end
  if #args == 0 then return end
  redis.call('HSET', p.key, unpack(args))
  redis.call('PEXPIRE', p.key, remember)
end

local function next_round(p)
  p.round, p.began, p.bound = p.round + 1, now, 0
  p.given, p.n, p.f, p.got = 0, 0, 0, 0
end

local least = 0.05 -- units a second

-- A new rate, near which the limit is believed to be.
local function change(p, rate)
  p.limit = math.max(rate, p.rate / 4, least)
  p.rate, p.grow, p.step = p.limit * 0.99, 0, 0.01
  p.due = math.min(p.due, now + second)
  next_round(p)
end

-- Of few calls in a window, one more or less means much.
local function few(p) return p.n < 30 and p.window > 2 * second end

-- Below the believed limit the rate comes back to it soon, passes it slowly, and then faster and faster.
local function raise(p)
  if p.most > 0 then
    p.most = math.max(p.most, p.rate * math.max(p.window / second, 1) / 6)
    if p.most >= 1000 then p.most = 0 end
  end
  if p.rate < p.limit * 0.98 then
    p.rate = math.min(p.rate * 1.04, p.limit * 0.98)
  elseif p.rate < p.limit * 1.02 then
    p.rate = p.rate * (1 + (p.told > 0 and 0.001 or few(p) and 0.0025 or 0.01))
  else
    p.rate, p.step = p.rate * (1 + p.step), math.min(2 * p.step, few(p) and 0.02 or 0.16)
  end
end

-- No limit was met yet: rates that are taken well are doubled, and of others it is what was accepted.
local function find(p, age, refused)
  if p.n < 6 and age < 2 * second or age < (p.rate > 0 and second / 4 or 2 * second) then return end
  if refused > 0.3 and p.rate > 0 and p.f >= 3 then
    p.before = 0
    change(p, p.rate * (1 - refused))
    p.limit = 0
  elseif refused > 0.3 and p.n >= 6 then -- it may have been idle before: this is where to begin
    p.rate, p.grow, p.before, p.limit = math.max(p.lump, p.got * second / age), 1, 0, 0
    next_round(p)
  elseif p.grow == 1 and p.bound == 1 then
    p.rate = p.rate * 2
    next_round(p)
  elseif age > 2 * second then
    next_round(p)
  end
end

-- The rate was cut: did that help? Calls enough to know it are waited for. Else as many are refused at any rate.
-- Reports whether there is no more to do in this round.
local function weigh(p)
  p.cut_n, p.cut_f = p.cut_n + p.n, p.cut_f + p.f
  if p.cut_n * p.refused < 3 then return true end
  local still, accepted = p.cut_f / p.cut_n, p.before * (1 - p.refused)
  if still < p.refused / 2 then
    p.before = 0
    return false
  elseif p.cut_f < 3 then -- too few to tell
    p.before = 0
    change(p, p.rate * (1 - still))
  elseif p.lower == 0 or p.rate * (1 - still) > accepted * (1 + p.rate / p.before) / 2 then
    -- It was too little, or to no purpose: a rate well below what was accepted will show. Of a quota, it will
    -- accept all; or at least as much as now, should that be less than it seemed.
    p.before, p.refused, p.cut_n, p.cut_f, p.lower = p.rate, still, 0, 0, 1
    p.limit = p.rate * (1 - still)
    p.rate = 0.92 * p.limit
  else -- less was accepted, in proportion
    p.noise = math.min(still, 0.15)
    p.rate, p.limit, p.before = p.top, p.top, 0
  end
  return true
end

-- What the answers of a round say of its rate.
local function judge(p)
  local age, refused = now - p.began, p.f / p.n
  if p.out > 0 then return end
  if age > 60 * second and p.n < p.given / 2 then return next_round(p) end -- answers are lost
  if p.n == 0 or p.n < p.given / 2 then return end
  if p.grow == 1 or p.rate == 0 then return find(p, age, refused) end
  if p.n < 5 or age < math.max(2 * second, p.window) then return end
  local expected = p.noise * p.n
  local over = p.f - expected > 0.5 + 2 * math.sqrt(expected)
  if over and (p.before == 0 or p.f >= 3 and refused >= 2 * p.refused) then
    p.top, p.before, p.refused, p.cut_n, p.cut_f, p.lower = p.rate, p.told == 0 and p.rate or 0, refused, 0, 0, 0
    change(p, p.rate * (1 - math.max(p.f / math.max(p.n, few(p) and 30 or 60), p.told / 20)))
    if refused > 0.1 then p.limit = 0 end -- much has changed: it is a guess
    return
  end
  if p.before == 0 or not weigh(p) then
    p.noise = p.noise + math.min(refused - p.noise, 0) * math.min(p.n / 1000, 0.1)
    if p.bound == 1 then raise(p) end
  end
  next_round(p)
end

-- The quota is found open again: how much was accepted since the last time is what a window holds.
local function open(p)
  if p.out == 0 then return end
  local at = p.tried > 0 and (p.tried + now) / 2 or now -- it was between the last refusal and now
  local shut = at - p.out
  if p.run >= 4 and shut >= 0.3 * second then
    local cycle, window = at - p.open, math.max(p.window, 2 * shut)
    local rate = p.rate * (1 - shut / window)
    if p.open > 0 and (p.limit == 0 or cycle < 1.5 * window) then -- else the limit was lowered meanwhile
      rate = p.sum * second / math.max(cycle, 1)
    end
    p.window, p.before = math.max(p.window, shut), 0
    if p.sum > 0 then
      change(p, rate)
      p.limit = 0 -- it is no more than a guess
    elseif p.rate == 0 then -- others have used it up, or whole calls are refused whatever the time
      p.rate, p.grow = p.lump, 1
      next_round(p)
      if p.small > 0 then p.most = math.max(1, p.small / 3) end
    end
    p.open, p.sum = at, 0
  end
  p.run, p.out = 0, 0
end
