-- Add frames to the stream of a turn. Sent twice, it is done once.
-- KEYS stream, the session's streams
-- ARGV turn, number of the last frame, frames, 'end' where no more come, how long a stream is kept in ms,
--      number before which frames are let go ('': none),
--      number of the last frame before these where whoever ends it isn't who writes it
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
-- Erased with its session, or run out: not to come back.
if not last then
  return 'gone'
end
local number = tonumber(string.match(last[1], '^%d+'))
if number >= tonumber(ARGV[2]) and not ARGV[7] then
  return 'ok'
end
if last[2][2] == 'end' or ARGV[7] and number ~= tonumber(ARGV[7]) then
  return 'gone'
end
redis.call('XADD', KEYS[1], ARGV[2] .. '-1', 'end', ARGV[4], 'frames', ARGV[3])
if ARGV[6] ~= '' then
  redis.call('XTRIM', KEYS[1], 'MINID', ARGV[6])
end
local now = redis.call('TIME')[1]
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 'ok'
