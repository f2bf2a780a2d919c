-- Read a session as it is at one moment, without the messages that are known.
-- KEYS meta, messages, tokens   ARGV name of the commit whose messages are known ('': none)
local meta = redis.call('HGETALL', KEYS[1])
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'commit') == ARGV[1] then
  return {meta}
end
return {meta, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
