-- Removes the record of a job that has ended, or of which nothing was sent yet.
-- KEYS[1] job  KEYS[2] doc  KEYS[3] names  KEYS[4] free  KEYS[5] held  KEYS[6] out  KEYS[7] log
-- KEYS[8] staged segments of the load that made the job  KEYS[9] lock: who has the right to add to it  KEYS[10] files that were uploaded for it
-- ARGV: owners that are alive. What others hold, nobody works on any more.
-- Answers 'deleted', 'held', 'unsettled' for a cancelled job with targets that are pending, the state of a job that has not ended, or '' where there is none.
local job = redis.call('HMGET', KEYS[1], 'state', 'finished')
local state = job[1]
if not state then return '' end
if state ~= 'finished' and state ~= 'cancelled' and state ~= 'scheduled' and state ~= 'loading' then return state end
local alive = {}
for i = 1, #ARGV do alive[ARGV[i]] = true end
local held = redis.call('HGETALL', KEYS[5])
for i = 1, #held, 2 do
  -- Beside each claim, "owner/number", stands the number of its last checkpoint.
  local owner = string.match(held[i + 1], '^(.*)/')
  if owner and alive[owner] then return 'held' end
end
if state == 'cancelled' and not job[2] then return 'unsettled' end
for i = 1, 10 do redis.call('UNLINK', KEYS[i]) end
return 'deleted'
