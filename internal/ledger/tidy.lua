-- Stands before the scripts after which nobody goes on with what was staged for a loading job.

-- Removes from its names what no commit has made part of it: each of its segments is free until it starts.
local function tidy(names, free)
  local n = redis.call('ZCARD', free)
  if redis.call('HLEN', names) == n then return end
  for _, field in ipairs(redis.call('HKEYS', names)) do
    if not string.find(field, '^%d+$') or tonumber(field) >= n then redis.call('HDEL', names, field) end
  end
end
