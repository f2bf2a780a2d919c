-- Erase a session; whoever reads it afterwards finds none of it.
-- KEYS meta, operations, turns with a stream, then its other keys
-- ARGV what the keys of receipts begin with, and those of streams
-- Returns whether it was there, then the names of its operations.
local answer = {redis.call('EXISTS', KEYS[1])}
for i, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  answer[i + 1] = name
  redis.call('DEL', ARGV[1] .. name)
end
for _, turn in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  redis.call('DEL', ARGV[2] .. turn)
end
redis.call('DEL', unpack(KEYS))
return answer
