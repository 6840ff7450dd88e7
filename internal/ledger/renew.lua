-- Prolongs the right to add to a loading job.
-- KEYS[1] lock
-- ARGV[1] token  ARGV[2] ms that the right is held from now on
-- Answers 1, or 0 where it is lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
