-- End a claim, if it is still ours.
-- KEYS record   ARGV owner, how (done, undone: somebody may do it, untouched: it is as if it had never been asked for),
--      then of what is done: how long it is kept in ms, status, headers, body
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return
end
if ARGV[2] == 'untouched' then
  redis.call('DEL', KEYS[1])
  return
end
redis.call('HDEL', KEYS[1], 'owner', 'until')
if ARGV[2] == 'done' then
  redis.call('HSET', KEYS[1], 'status', ARGV[4], 'headers', ARGV[5], 'body', ARGV[6])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
