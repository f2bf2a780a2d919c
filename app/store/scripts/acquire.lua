-- Take a session for one turn and read what isn't known of it; else, where that is asked for, the place behind the turn that has it.
-- KEYS meta, messages, tokens, lease, waiter
-- ARGV lease, its length in ms, how (reject, enqueue, interrupt, or stay in a place that was taken before),
--      how long a place is kept in ms, name of the commit whose messages are known ('': none)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'missing'}
end
local holder, waiter = redis.call('GET', KEYS[4]), redis.call('GET', KEYS[5])
local first = not waiter or waiter == ARGV[1]
-- Ours already: the answer to this very command was lost, and it was sent again.
if holder == ARGV[1] or not holder and (first or ARGV[3] == 'interrupt') then
  redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[2])
  if waiter == ARGV[1] then
    redis.call('DEL', KEYS[5])
  end
  local meta = redis.call('HGETALL', KEYS[1])
  if ARGV[5] ~= '' and redis.call('HGET', KEYS[1], 'commit') == ARGV[5] then
    return {'ok', meta}
  end
  return {'ok', meta, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
end
if ARGV[3] == 'interrupt' or ARGV[3] ~= 'reject' and first then
  redis.call('SET', KEYS[5], ARGV[1], 'PX', ARGV[4])
  return {'waiting', holder or ''}
end
return {'busy'}
