-- KEYS: lease, fence. ARGV: holder, ttl in ms, offered incarnation (0 = none).
-- Returns {1, incarnation, counter} = acquired, {0, 0, 0} = held by someone,
-- {2, incarnation, 0} = an incarnation above this one must be drawn and offered.
if redis.call('exists', KEYS[1]) == 1 then
  return {0, 0, 0}
end
-- Asked for on the server that will hold the token, at the moment it is given: a connection may outlive a
-- failover or a promotion, and what it read when it was opened with it.
local replid = string.match(redis.call('info', 'replication'), 'master_replid:(%x+)')
local fence = redis.call('hmget', KEYS[2], 'incarnation', 'replid', 'counter')
local incarnation = tonumber(fence[1] or '0')
local counter = tonumber(fence[3] or '0')
local offered = tonumber(ARGV[3])
if offered > incarnation then
  incarnation = offered
  counter = 0
elseif incarnation == 0 or fence[2] ~= replid or counter >= 4294967295 then
  return {2, incarnation, 0}
end
counter = counter + 1
redis.call('hset', KEYS[2], 'incarnation', incarnation, 'replid', replid, 'counter', string.format('%.0f', counter))
redis.call('set', KEYS[1], string.format('%.0f:%.0f:', incarnation, counter) .. ARGV[1], 'px', ARGV[2])
return {1, incarnation, counter}
