-- Keeps the record of an upload for a job, unless there is one under its name.
-- KEYS[1] files
-- ARGV[1] name  ARGV[2] record  ARGV[3] ms until the file is gone: no record of the job lives longer than its first file
-- Answers the record that is kept.
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return redis.call('HGET', KEYS[1], ARGV[1])
