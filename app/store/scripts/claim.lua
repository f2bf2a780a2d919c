-- Claim an operation's name, or learn what is known of it.
-- KEYS record   ARGV fingerprint of the request, owner, length of the claim in ms, how long the record is kept in ms
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], 'fingerprint', 'owner', 'until', 'status', 'headers', 'body')
if stored[1] and stored[1] ~= ARGV[1] then
  return {'other'}
end
if stored[4] then
  return {'done', stored[4], stored[5], stored[6]}
end
if stored[2] and stored[2] ~= ARGV[2] and tonumber(stored[3]) > ms then
  return {'busy'}
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'owner', ARGV[2], 'until', ms + ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {stored[1] and 'again' or 'new'}
