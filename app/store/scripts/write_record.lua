-- Write or delete a record if it is still the revision that was read; the version before it is kept.
-- KEYS records, index, changes, changed, versions of the record, its files
-- ARGV id, expected revision ('': must not exist), new revision ('' deletes), record, index entry,
--      then digest, file, … of the files that are new
local stored = redis.call('HGET', KEYS[2], ARGV[1])
local entry = stored and cjson.decode(stored)
local revision = entry and (entry.revision or tostring(entry.version)) or ''
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
  redis.call('DEL', KEYS[5], KEYS[6])
else
  if stored then
    local before = redis.call('HGET', KEYS[1], ARGV[1])
    local version = tostring(entry.version or cjson.decode(before).version)
    redis.call('HSET', KEYS[5], version, before, version .. ':entry', stored)
  end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
  for i = 6, #ARGV, 2 do
    redis.call('HSETNX', KEYS[6], ARGV[i], ARGV[i + 1])
  end
end
redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[4]), ARGV[1])
return 'ok'
