-- Gives a claimed segment up; with targets still pending it becomes free again.
-- KEYS[1] held  KEYS[2] free  KEYS[3] job
-- ARGV[1] segment  ARGV[2] claim
-- ARGV[3] ms until it may be claimed again; '' = nothing in it is pending
-- ARGV[4] number of the last checkpoint under the claim, '' = not known. Where it is not here,
--         Redis has lost its last writes, and the segment is due again.
-- Answers 1, or 0 where the claim is no longer held (then nothing changes).
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local delay = ARGV[3]
if ARGV[4] ~= '' and tonumber(redis.call('HGET', KEYS[1], ARGV[1] .. '#') or 0) ~= tonumber(ARGV[4]) then delay = '0' end
redis.call('HDEL', KEYS[1], ARGV[1], ARGV[1] .. '#')
-- A segment of which nothing is pending may be put back, too: its owner died before it could tell.
if delay ~= '' and redis.call('HEXISTS', KEYS[3], 'finished') == 0 then
  local t = redis.call('TIME')
  redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + delay, ARGV[1])
end
return 1
