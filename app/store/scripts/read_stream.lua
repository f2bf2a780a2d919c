-- What was said of a turn after a frame, or how it stands with the turn where nothing was.
-- KEYS lease, stream   ARGV turn, number of the frame, most entries
-- Returns: frames, number of the last one, whether it is the end, frames of each entry; or a state, number of the last.
local entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-1', '+', 'COUNT', ARGV[3])
if #entries > 0 then
  local answer = {'frames', string.match(entries[#entries][1], '^%d+'), entries[#entries][2][2]}
  for i, entry in ipairs(entries) do
    answer[i + 3] = entry[2][4]
  end
  return answer
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local running = redis.call('GET', KEYS[1]) == ARGV[1]
if not last then
  return {running and 'unkept' or 'missing', '0'}
end
local ended = last[2][2] == 'end'
return {ended and 'ended' or running and 'running' or 'lost', string.match(last[1], '^%d+')}
