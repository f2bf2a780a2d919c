-- Write or delete a character if it still has the version that was read.
-- KEYS cards, index   ARGV id, expected version (0: must not exist), record ('' deletes), index entry
local stored = redis.call('HGET', KEYS[2], ARGV[1])
local version = 0
if stored then
  version = cjson.decode(stored).version
end
if version ~= tonumber(ARGV[2]) then
  return stored and 'conflict' or 'missing'
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
end
return 'ok'
