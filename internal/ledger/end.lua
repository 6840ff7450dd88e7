-- Stands before the scripts that may settle the last target of a job.
-- KEYS[1] job  KEYS[2] out  KEYS[3] log  KEYS[4] held  KEYS[5] doc  KEYS[6] names  KEYS[7] free

-- Ends a job of which nothing is pending: at a time in ms, with the ms that its record stays; drop: its document goes at once.
-- Answers the job's state, and whether it has ended by this call.
local function finish(now, stay, drop)
  local state = redis.call('HGET', KEYS[1], 'state')
  local finished = string.format('%.0f', now)
  if redis.call('HSETNX', KEYS[1], 'finished', finished) == 0 then return state, false end
  if state ~= 'cancelled' then
    state = 'finished'
    redis.call('HSET', KEYS[1], 'state', state)
  end
  if drop then redis.call('DEL', KEYS[5]) end
  redis.call('DEL', KEYS[7]) -- settled segments that were put back
  redis.call('HDEL', KEYS[1], 'load', 'pending', 'v', 'idle', 'idle_at')
  -- What a job of a few targets leaves behind is moved into one key: a key costs more than what is in it.
  -- Values of up to 64 bytes keep the hash compact. A late answer may still change what is unknown ('u').
  if redis.call('HLEN', KEYS[6]) == 1 then
    local names, out, log = redis.call('HVALS', KEYS[6])[1], redis.call('GET', KEYS[2]), redis.call('HVALS', KEYS[3])[1] or ''
    if log == finished .. ' [["s",1,[0,' .. #out .. ']]]\n' then log = '' end -- all sent at once and just now: goes without saying
    if #names <= 64 and #out <= 64 and #log <= 64 and not string.find(out, 'u', 1, true) then
      redis.call('HSET', KEYS[1], 'n', names, 'o', out)
      if log ~= '' then redis.call('HSET', KEYS[1], 'l', log) end
      local at = redis.call('HMGET', KEYS[1], 'created', 'started') -- times become ms since the first of them, from 1 on
      if at[2] then redis.call('HSET', KEYS[1], 'started', math.max(1, at[2] - at[1] + 1)) end
      redis.call('HSET', KEYS[1], 'finished', math.max(1, now - at[1] + 1))
      redis.call('DEL', KEYS[2], KEYS[3], KEYS[6])
    end
  end
  for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], stay) end
  return state, true
end
