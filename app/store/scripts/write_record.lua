-- Write or delete a record if it is still the revision that was read; of the versions before it, the latest are kept.
-- KEYS records, index, changes, changed, versions of the record, its files
-- ARGV id, expected revision ('': must not exist), new revision ('' deletes), record, index entry, most versions that
--      are kept, this one among them, digests of its files and of those of the version before (with spaces between),
--      then digest, file, … of the files that are new

-- Take away the versions from `last` down; true when files may have gone with them.
local function forget(last, kept_files)
  local gone = false
  while last > 0 and redis.call('HDEL', KEYS[5], last, last .. ':entry') > 0 do
    local files = redis.call('HGET', KEYS[5], last .. ':files')
    redis.call('HDEL', KEYS[5], last .. ':files')
    gone = gone or files ~= kept_files
    last = last - 1
  end
  return gone
end

-- Take away the files that neither `now` nor any version from `first` to `last` names.
local function sweep(now, first, last)
  local named, seen = {}, {}
  local function note(digests)
    if not seen[digests] then
      seen[digests] = true
      for digest in string.gmatch(digests, '%S+') do
        named[digest] = true
      end
    end
  end
  note(now)
  for version = first, last do
    local digests = redis.call('HGET', KEYS[5], version .. ':files')
    if not digests then
      return -- kept before digests were: what it names isn't known
    end
    note(digests)
  end
  for _, digest in ipairs(redis.call('HKEYS', KEYS[6])) do
    if not named[digest] then
      redis.call('HDEL', KEYS[6], digest)
    end
  end
end

local stored = redis.call('HGET', KEYS[2], ARGV[1])
local entry = stored and cjson.decode(stored)
local revision = entry and (entry.revision or tostring(entry.version)) or ''
-- Done already: the answer to this very command was lost, and it was sent again.
if revision == ARGV[3] then
  return 'ok'
end
if revision ~= ARGV[2] then
  return stored and 'conflict' or 'missing'
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[5], KEYS[6])
else
  local before = stored and redis.call('HGET', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
  for i = 9, #ARGV, 2 do
    redis.call('HSETNX', KEYS[6], ARGV[i], ARGV[i + 1])
  end
  local version = before and (entry.version or cjson.decode(before).version)
  -- What makes no version of its own leaves none behind.
  if version and version < cjson.decode(ARGV[5]).version then
    redis.call('HSET', KEYS[5], version, before, version .. ':entry', stored, version .. ':files', ARGV[8])
    local first = version + 2 - tonumber(ARGV[6])
    local next_files = first > version and ARGV[7] or redis.call('HGET', KEYS[5], first .. ':files')
    if forget(first - 1, next_files) then
      sweep(ARGV[7], math.max(first, 1), version)
    end
  end
end
redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[4]), ARGV[1])
return 'ok'
