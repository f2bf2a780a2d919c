-- Keep a session longer, if it is still ours.   KEYS lease   ARGV lease, its length in ms
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
