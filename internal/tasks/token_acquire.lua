-- The leave to fetch a token: one process of the fleet has it, for so long from now.
-- KEYS[1] who has the leave
-- ARGV[1] who asks  ARGV[2] ms
-- Answers 1 if it is given; who has it already gets it anew.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('PERSIST', KEYS[1]) -- lets a full Redis do it: see ledger/checkpoint.lua
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
