-- Drops entries of an index whose jobs are gone, but for those that were
-- written anew since: their jobs are about to come.
-- KEYS[1] index: sorted set
-- ARGV: pairs of entry and the score it had when its job was not there
for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) == tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return 0
