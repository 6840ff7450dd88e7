-- A late 200 of an owner that has lost its claim: what is recorded as unknown
-- was sent. So was what is still marked as in flight while nobody holds the
-- segment, since a new holder settles all such marks before anything else.
-- KEYS[1] job  KEYS[2] out  KEYS[3] log  KEYS[4] held
-- ARGV[1] segment  ARGV[2] offset of the segment in the job  ARGV[3] attempts
-- ARGV[4] when the job was created: under its id there may be another by now
-- ARGV[5..] pairs of offset in the segment and number of targets
-- Answers the number of targets that became sent.
if redis.call('HGET', KEYS[1], 'created') ~= ARGV[4] then return 0 end
local number = string.match(ARGV[1], '^%d+')
local free = redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local unknown, pending, runs = 0, 0, {}
redis.call('HDEL', KEYS[4], '') -- lets a full Redis record it: see checkpoint.lua
for i = 5, #ARGV, 2 do
  local from = ARGV[2] + ARGV[i]
  local codes = redis.call('GETRANGE', KEYS[2], from, from + ARGV[i + 1] - 1)
  for at = 1, #codes do
    local code = string.sub(codes, at, at)
    if code == 'u' or (code == 'i' and free) then
      if code == 'u' then unknown = unknown + 1 else pending = pending + 1 end
      redis.call('SETRANGE', KEYS[2], from + at - 1, 's')
      runs[#runs + 1] = (ARGV[i] + at - 1) .. ',1'
    end
  end
end
if #runs == 0 then return 0 end
local log = redis.call('HGET', KEYS[3], number) or ''
redis.call('HSET', KEYS[3], number,
  log .. now .. ' [["s",' .. ARGV[3] .. ',[' .. table.concat(runs, ',') .. ']]]\n')
redis.call('HINCRBY', KEYS[1], 'calls', 1)
redis.call('HINCRBY', KEYS[1], 'sent', unknown + pending)
if unknown > 0 then
  redis.call('HINCRBY', KEYS[1], 'unknown', -unknown)
  redis.call('HINCRBY', KEYS[1], 'r:answer_lost', -unknown)
end
if pending > 0 then
  redis.call('HINCRBY', KEYS[1], 'pending', -pending)
end
return unknown + pending
