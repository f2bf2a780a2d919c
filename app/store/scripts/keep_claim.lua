-- Keep a claim longer, if it is still ours.   KEYS record   ARGV owner, length of the claim in ms
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  local now = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'until', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2])
end
