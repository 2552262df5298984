-- KEYS: lease, queue. Changes nothing. Returns {value or '', ms until it ends, Redis' time in ms, waiters}.
local value = redis.call('get', KEYS[1])
return {value or '', math.max(redis.call('pttl', KEYS[1]), 0), clock_ms(), redis.call('zcard', KEYS[2])}
