-- The id of the session that an operation makes: the one that an earlier attempt chose, or else this one.
-- KEYS record   ARGV id
local before = redis.call('HGET', KEYS[1], 'session')
if not before and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'session', ARGV[1])
end
return before or ARGV[1]
