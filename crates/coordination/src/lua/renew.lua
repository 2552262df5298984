-- KEYS: lease. ARGV: the value written by acquire, ttl in ms. Returns 1 when it was still ours.
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0
