-- Write or delete a character if it is still the revision that was read.
-- KEYS cards, index   ARGV id, expected revision ('': must not exist), new revision ('' deletes), record, index entry
local stored = redis.call('HGET', KEYS[2], ARGV[1])
local revision = ''
if stored then
  local entry = cjson.decode(stored)
  revision = entry.revision or tostring(entry.version)
end
-- Done already: the answer to this very command was lost, and it was sent again.
if revision == ARGV[3] then
  return 'ok'
end
if revision ~= ARGV[2] then
  return stored and 'conflict' or 'missing'
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
end
return 'ok'
