-- KEYS: lease. ARGV: the value written by acquire. Returns 1 when it was still ours.
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
end
return 0
