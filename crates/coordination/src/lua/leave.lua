-- KEYS: lease, queue, seen. ARGV: attempt, channel. Takes the attempt out of the queue, and gives back what it was
-- granted without hearing of it. Returns 1 when there was such a lease.
local first = head_of(KEYS[2])
take_out(KEYS[2], KEYS[3], ARGV[1])
local value = redis.call('get', KEYS[1])
local granted = value and string.match(value, '^%d+:%d+:%d+:(.*)$') == ARGV[1]
if granted then
  redis.call('del', KEYS[1])
end
local head = head_of(KEYS[2])
if head and (granted or (not value and head ~= first)) then
  redis.call('publish', ARGV[2], head)
end
return granted and 1 or 0
