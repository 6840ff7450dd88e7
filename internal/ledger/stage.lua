-- Stages a segment for a loading job: it is no part of it until join.lua says so. Before it stands hold.lua, with keys and answers.
-- ARGV[4] field of the names hash, '' = there is nothing to stage  ARGV[5] its names
local why = barred()
if why then return why end
touch()
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], ARGV[4], ARGV[5]) end
return {'done'}
