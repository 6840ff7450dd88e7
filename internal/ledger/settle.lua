-- Ends what is pending in segments that nobody holds, where the job was cancelled or its time has passed, or nothing was added for long
-- while it was loading: a few segments at a time, so that Redis serves others in between. Whoever repeats it goes on with it.
-- KEYS[1] job  KEYS[2] out  KEYS[3] log  KEYS[4] held  KEYS[5] doc  KEYS[6] names  KEYS[7] free, as in end.lua, which stands before it, as tidy.lua does
-- ARGV[1] ms that the record of a finished job stays  ARGV[2] the same of an urgent one, whose document goes at once
-- ARGV[3] targets to look at, unless the first segment has more
-- Answers {state, targets cancelled, targets unknown, free segments to go on with, 1 if nothing is pending any more, 1 if by this call};
-- {} where there is no such job.
local job = redis.call('HMGET', KEYS[1], 'state', 'expires_at', 'finished', 'urgent', 'idle_at', 'idle')
local state = job[1]
if not state then return {} end
if job[3] then return {state, 0, 0, 0, 1, 0} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if state == 'loading' and job[5] and tonumber(job[5]) <= now then
  redis.call('HDEL', KEYS[4], '') -- lets a full Redis record it: see checkpoint.lua
  state = 'cancelled'
  redis.call('HSET', KEYS[1], 'state', state)
  tidy(KEYS[6], KEYS[7])
end
local code, reason, why
if state == 'cancelled' and job[5] then
  code, reason, why = 'x', 'expired', string.format('nothing was added for %g h', job[6] / 3600000)
elseif state == 'cancelled' then
  code, reason, why = 'c', 'cancelled', 'the job was cancelled'
elseif job[2] and tonumber(job[2]) <= now and state ~= 'loading' then
  code, reason, why = 'x', 'expired', 'expires_at passed'
else
  return {state, 0, 0, 0, 0, 0}
end

redis.call('HDEL', KEYS[4], '') -- lets a full Redis record it: see checkpoint.lua
local cancelled, unknown, looked = 0, 0, 0
for _, segment in ipairs(redis.call('ZRANGE', KEYS[7], 0, 99)) do
  local number, base, count = string.match(segment, '^(%d+):(%d+):(%d+)$')
  if looked > 0 and looked + count > tonumber(ARGV[3]) then break end
  looked = looked + count
  local codes = redis.call('GETRANGE', KEYS[2], base, base + count - 1)
  codes = codes .. string.rep('\0', count - #codes) -- the last ones may be fresh
  local entries = {}
  -- Targets with codes of a class get another one. Attempts are told relative to those before: see Entry.Attempts.
  local function turn(class, to, attempts, detail)
    local runs, n = {}, 0
    local first, last = string.find(codes, class .. '+')
    while first do
      n = n + last - first + 1
      runs[#runs + 1] = (first - 1) .. ',' .. (last - first + 1)
      first, last = string.find(codes, class .. '+', last + 1)
    end
    if n > 0 then
      codes = string.gsub(codes, class, to)
      entries[#entries + 1] = '["' .. to .. '",' .. attempts .. ',[' .. table.concat(runs, ',') .. '],"' .. detail .. '"]'
    end
    return n
  end
  unknown = unknown + turn('i', 'u', -2, 'the worker ended before it had recorded the answer')
    + turn('[ld]', 'u', -1, why .. ' before it could be sent again')
  cancelled = cancelled + turn('[%zt]', code, -1, why)
  if #entries > 0 then
    redis.call('SETRANGE', KEYS[2], base, codes)
    redis.call('HSET', KEYS[3], number, (redis.call('HGET', KEYS[3], number) or '')
      .. string.format('%.0f', now) .. ' [' .. table.concat(entries, ',') .. ']\n')
  end
  redis.call('ZREM', KEYS[7], segment)
end
local function count(field, n)
  if n ~= 0 then redis.call('HINCRBY', KEYS[1], field, n) end
end
count('cancelled', cancelled)
count('r:' .. reason, cancelled)
count('unknown', unknown)
count('settled', unknown)
count('r:answer_lost', unknown)
count('pending', -cancelled - unknown)
local left, over, ended = redis.call('ZCARD', KEYS[7]), 0, false
if tonumber(redis.call('HGET', KEYS[1], 'pending')) == 0 then
  over, left = 1, 0
  state, ended = finish(now, job[4] and ARGV[2] or ARGV[1], job[4])
end
return {state, cancelled, unknown, left, over, ended and 1 or 0}
