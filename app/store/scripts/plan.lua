-- Keep what was planned for a session's next turn, if that hasn't begun, and nothing has changed since it was read.
-- KEYS meta, lease   ARGV version, when the session was created, plan
local stored = redis.call('HMGET', KEYS[1], 'version', 'created')
if stored[1] ~= ARGV[1] or stored[2] ~= ARGV[2] or redis.call('EXISTS', KEYS[2]) == 1 then
  return 'moved'
end
redis.call('HSET', KEYS[1], 'planned', ARGV[3])
return 'ok'
