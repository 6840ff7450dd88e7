-- Records outcomes of targets of a claimed segment, and the job's counts with them.
-- KEYS[1] job  KEYS[2] out  KEYS[3] log  KEYS[4] held  KEYS[5] doc  KEYS[6] names  KEYS[7] free, as in end.lua, which stands before it
-- ARGV[1] segment  ARGV[2] claim
-- ARGV[3] number of this checkpoint under the claim: one that was applied is not applied again
-- ARGV[4] ms that the record stays once the job is finished
-- ARGV[5] '1': the document goes when the job is finished
-- ARGV[6] log entries (JSON), '' = none
-- ARGV[7] number of runs R, then R pairs of offset (in the job) and outcome codes,
--         then pairs of job field and increment
-- Answers the job's state, or 'fenced' where the claim is no longer held, or of no use.
local seq = ARGV[1] .. '#'
local held = redis.call('HMGET', KEYS[4], ARGV[1], seq)
if held[1] ~= ARGV[2] then return 'fenced' end
local have = tonumber(held[2] or 0)
if have >= tonumber(ARGV[3]) then
  return redis.call('HGET', KEYS[1], 'state')
end
-- Earlier checkpoints are missing: Redis has lost its last writes. What its owner
-- knows of the segment and what stands here would not agree any more.
if have < ARGV[3] - 1 then return 'fenced' end
-- What has happened is recorded by a full Redis, too: it refuses only scripts that begin with a command which takes memory.
redis.call('HDEL', KEYS[4], '')
redis.call('HSET', KEYS[4], seq, ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local fields = 8 + 2 * ARGV[7]
for i = 8, fields - 1, 2 do
  redis.call('SETRANGE', KEYS[2], ARGV[i], ARGV[i + 1])
end
if ARGV[6] ~= '' then
  local number = string.match(ARGV[1], '^%d+')
  local log = redis.call('HGET', KEYS[3], number) or ''
  redis.call('HSET', KEYS[3], number, log .. string.format('%.0f', now) .. ' ' .. ARGV[6] .. '\n')
end
for i = fields, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
local job = redis.call('HMGET', KEYS[1], 'state', 'pending')
if tonumber(job[2]) ~= 0 then return job[1] end
return (finish(now, ARGV[4], ARGV[5] == '1'))
