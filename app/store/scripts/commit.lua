-- Write a session's next version, if nobody else has.
-- KEYS meta, messages, tokens, lease
-- ARGV expected version ('new': there must be none), lease, number of meta fields, field, value, …, then message id, JSON, packed ids, …
local version = redis.call('HGET', KEYS[1], 'version') or 'new'
if version ~= ARGV[1] then
  return version == 'new' and 'missing' or ARGV[1] == 'new' and 'taken' or 'conflict'
end
local after = 3 + 2 * tonumber(ARGV[3])
for i = 4, after, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = after + 1, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
end
if redis.call('GET', KEYS[4]) == ARGV[2] then
  redis.call('DEL', KEYS[4])
end
return 'ok'
