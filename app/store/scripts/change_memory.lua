-- Put another memory in one's place, or nothing, if it is still as it was read.
-- KEYS memories, vectors, remembered
-- ARGV id, JSON as it was, JSON ('': nothing), packed vector ('': none, '=': as it was), revision
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
  return 'missing'
end
if stored ~= ARGV[2] then
  return 'changed'
end
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[4] ~= '=' then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
if ARGV[4] ~= '' and ARGV[4] ~= '=' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
end
redis.call('HSET', KEYS[3], 'revision', ARGV[5])
return 'ok'
