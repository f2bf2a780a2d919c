-- Write memories, those of the same mark once: what was forgotten since doesn't come back.
-- KEYS meta, memories, vectors, remembered
-- ARGV when the session was created ('': whenever), new revision, most memories, recap's field ('': none), recap,
--      number of ids to drop, id, …, then mark ('': none), id, JSON, packed vector ('': none), …
local created = redis.call('HGET', KEYS[1], 'created')
if not created or (ARGV[1] ~= '' and created ~= ARGV[1]) then
  return 'missing'
end
local after = 6 + tonumber(ARGV[6])
for i = 7, after do
  redis.call('HDEL', KEYS[2], ARGV[i])
  redis.call('HDEL', KEYS[3], ARGV[i])
end
-- One that is there already takes no more room.
local count = redis.call('HLEN', KEYS[2])
for i = after + 2, #ARGV, 4 do
  count = count + 1 - redis.call('HEXISTS', KEYS[2], ARGV[i])
end
if count > tonumber(ARGV[3]) then
  return 'full'
end
local fresh = {['']=true}
for i = after + 1, #ARGV, 4 do
  local mark = ARGV[i]
  if fresh[mark] == nil then
    fresh[mark] = redis.call('HSETNX', KEYS[4], mark, 1) == 1
  end
  if fresh[mark] then
    redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
    if ARGV[i + 3] ~= '' then
      redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i + 3])
    end
  end
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[4], ARGV[5])
end
redis.call('HSET', KEYS[4], 'revision', ARGV[2])
return 'ok'
