-- Begin the stream of a turn's frames, while the turn has its session.
-- KEYS lease, stream, the session's streams   ARGV turn, how long a stream is kept in ms
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'gone'
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[2], '0-1', 'end', '')
end
local now = redis.call('TIME')[1]
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2] / 1000)
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return 'ok'
