-- KEYS: fence. Whoever acquires next must draw a new incarnation. Done twice it is the same.
return redis.call('hdel', KEYS[1], 'replid')
