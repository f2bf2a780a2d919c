-- What of an index has changed.   KEYS records, index, changes, changed   ARGV number of the last change that is known
-- Returns the number of the last change, how many records there are, then id, index entry (false: gone), …
local answer = {tonumber(redis.call('GET', KEYS[4]) or 0), redis.call('HLEN', KEYS[2])}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf')) do
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HGET', KEYS[2], id)
end
return answer
