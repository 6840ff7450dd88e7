-- Gives the right to add to a loading job back, and drops what was staged under it. Before it stands tidy.lua.
-- KEYS[1] job  KEYS[2] names  KEYS[3] lock  KEYS[4] free
-- ARGV[1] token
-- Answers 1, or 0 where the right was lost already.
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'state') == 'loading' then tidy(KEYS[2], KEYS[4]) end
return redis.call('DEL', KEYS[3])
