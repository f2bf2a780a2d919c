-- As many records as fit, at least one.   KEYS records   ARGV most bytes, id, …
-- Returns each in its turn (false: gone); fewer than were asked for where they are too large together.
local answer, size = {}, 0
for i = 2, #ARGV do
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  size = size + (record and #record or 0)
  if i > 2 and size > tonumber(ARGV[1]) then
    break
  end
  answer[i - 1] = record
end
return answer
