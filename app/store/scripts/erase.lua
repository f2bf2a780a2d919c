-- Erase a session; whoever reads it afterwards finds none of it.
-- KEYS meta, operations, turns with a stream, then its other keys
-- ARGV what the keys of receipts begin with, and those of streams, whose it must be ('': anybody's)
-- Returns whether it was there, whose it was, then the names of its operations.
local owner = redis.call('HGET', KEYS[1], 'user_id') or ''
if ARGV[3] ~= '' and ARGV[3] ~= owner then
  return {0, owner}
end
local answer = {redis.call('EXISTS', KEYS[1]), owner}
for i, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  answer[i + 2] = name
  redis.call('DEL', ARGV[1] .. name)
end
for _, turn in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  redis.call('DEL', ARGV[2] .. turn)
end
redis.call('DEL', unpack(KEYS))
return answer
