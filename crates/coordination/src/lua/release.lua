-- KEYS: lease, queue, seen. ARGV: the value written by acquire, waiter ttl in ms, channel.
-- Returns 1 when it was still ours. Whoever is next is told so.
if redis.call('get', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('del', KEYS[1])
if head_of(KEYS[2]) then
  local head = put_out(KEYS[2], KEYS[3], clock_ms(), tonumber(ARGV[2]))
  if head then
    redis.call('publish', ARGV[3], head)
  end
end
return 1
