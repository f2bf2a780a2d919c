-- Take a session for one turn and read all of it.
-- KEYS meta, messages, tokens, lease   ARGV lease, its length in ms
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'missing'}
end
-- Ours already: the answer to this very command was lost, and it was sent again.
if redis.call('GET', KEYS[4]) ~= ARGV[1] and not redis.call('SET', KEYS[4], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {'busy'}
end
return {'ok', redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
