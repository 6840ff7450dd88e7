-- Records outcomes of targets of a claimed segment, and the job's counts with them.
-- KEYS[1] job  KEYS[2] out  KEYS[3] log  KEYS[4] held  KEYS[5] doc  KEYS[6] names  KEYS[7] free
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
local state = job[1]
if tonumber(job[2]) == 0 and redis.call('HSETNX', KEYS[1], 'finished', string.format('%.0f', now)) == 1 then
  if state ~= 'cancelled' then
    state = 'finished'
    redis.call('HSET', KEYS[1], 'state', state)
  end
  if ARGV[5] == '1' then redis.call('DEL', KEYS[5]) end
  redis.call('DEL', KEYS[7]) -- settled segments that were put back
  redis.call('HDEL', KEYS[1], 'load', 'pending')
  -- What a job of a few targets leaves behind is moved into one key: a key costs more than what is in it.
  -- Values of up to 64 bytes keep the hash compact. A late answer may still change what is unknown ('u').
  if redis.call('HLEN', KEYS[6]) == 1 then
    local names, out, log = redis.call('HVALS', KEYS[6])[1], redis.call('GET', KEYS[2]), redis.call('HVALS', KEYS[3])[1] or ''
    local finished = string.format('%.0f', now)
    if log == finished .. ' [["s",1,[0,' .. #out .. ']]]\n' then log = '' end -- all sent at once and just now: goes without saying
    if #names <= 64 and #out <= 64 and #log <= 64 and not string.find(out, 'u', 1, true) then
      redis.call('HSET', KEYS[1], 'n', names, 'o', out)
      if log ~= '' then redis.call('HSET', KEYS[1], 'l', log) end
      local at = redis.call('HMGET', KEYS[1], 'created', 'started') -- times become ms since the first of them, from 1 on
      redis.call('HSET', KEYS[1], 'started', math.max(1, (at[2] or now) - at[1] + 1), 'finished', math.max(1, now - at[1] + 1))
      redis.call('DEL', KEYS[2], KEYS[3], KEYS[6])
    end
  end
  for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
end
return state
