-- Write a session's next version, if nobody else has.
-- KEYS meta, messages, tokens, lease, and where a named operation does it: the session's operations, its receipt
-- ARGV expected version ('new': there must be none), lease, when the session was created,
--      number of meta fields, field, value, …, then message id, JSON, packed ids, …,
--      in the end of a named operation: name, receipt, how long it is kept in ms
local stored = redis.call('HMGET', KEYS[1], 'version', 'commit', 'created')
local version = stored[1] or 'new'
-- Done already: the answer to this very command was lost, and it was sent again.
if stored[2] == ARGV[2] then
  return 'ok'
end
-- Deleted, or deleted and opened anew under the same id: not the session that was read.
if ARGV[1] ~= 'new' and stored[3] ~= ARGV[3] then
  return 'missing'
end
if version ~= ARGV[1] then
  return ARGV[1] == 'new' and 'taken' or 'conflict'
end
local after = 4 + 2 * tonumber(ARGV[4])
for i = 5, after, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = after + 1, #ARGV - (KEYS[5] and 3 or 0), 3 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
end
redis.call('HSET', KEYS[1], 'commit', ARGV[2])
if KEYS[5] then
  local name, receipt, kept_ms = ARGV[#ARGV - 2], ARGV[#ARGV - 1], ARGV[#ARGV]
  local now = redis.call('TIME')[1]
  redis.call('SET', KEYS[6], receipt, 'PX', kept_ms)
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - kept_ms / 1000)
  redis.call('ZADD', KEYS[5], now, name)
  redis.call('PEXPIRE', KEYS[5], kept_ms)
end
if redis.call('GET', KEYS[4]) == ARGV[2] then
  redis.call('DEL', KEYS[4])
end
return 'ok'
