-- A session's memories, where they aren't as they are known.
-- KEYS meta, memories, vectors, remembered   ARGV revision that is known
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'missing'}
end
local revision = redis.call('HGET', KEYS[4], 'revision') or ''
if revision == ARGV[1] then
  return {'same'}
end
return {'ok', revision, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
