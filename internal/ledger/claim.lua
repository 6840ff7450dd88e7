-- Claims the next due segment of a running job whose time has not passed. Repeating a call with the same claim gives the same segment.
-- KEYS[1] job  KEYS[2] free  KEYS[3] held  KEYS[4] names  KEYS[5] out  KEYS[6] log
-- ARGV[1] claim: the fencing token, "owner/number"
-- ARGV[2] when the job was created: under its id there may be another by now
-- Answers {state, segment, names, outcome codes, log, '1' if it is the job's first}; {state} where no segment is due;
-- {} where there is no such job.
local job = redis.call('HMGET', KEYS[1], 'state', 'created')
local state = job[1]
if not state or job[2] ~= ARGV[2] then return {} end
local segment, first
local held = redis.call('HGETALL', KEYS[3])
for i = 2, #held, 2 do
  if held[i] == ARGV[1] then segment = held[i - 1] end
end
if not segment then
  if state ~= 'running' then return {state} end
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local expires = redis.call('HGET', KEYS[1], 'expires_at')
  if expires and tonumber(expires) <= now then return {state} end -- settle.lua ends what is left
  segment = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1)[1]
  if not segment then return {state} end
  redis.call('ZREM', KEYS[2], segment)
  redis.call('HSET', KEYS[3], segment, ARGV[1])
  first = redis.call('HSETNX', KEYS[1], 'started', now) == 1
end
local number, base, count = string.match(segment, '^(%d+):(%d+):(%d+)$')
return {
  state,
  segment,
  redis.call('HGET', KEYS[4], number) or '',
  redis.call('GETRANGE', KEYS[5], base, base + count - 1),
  redis.call('HGET', KEYS[6], number) or '',
  first and '1' or '',
}
