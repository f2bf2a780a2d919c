-- Let an operation's record be erased with a session, where that is there.
-- KEYS meta, operations of the session   ARGV name, how long a record is kept in ms
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
