-- KEYS: fence. ARGV: offered incarnation. Only ever raises. Returns the incarnation that stands afterwards.
local incarnation = tonumber(redis.call('hget', KEYS[1], 'incarnation') or '0')
local offered = tonumber(ARGV[1])
if offered > incarnation then
  local replid = string.match(redis.call('info', 'replication'), 'master_replid:(%x+)')
  redis.call('hset', KEYS[1], 'incarnation', offered, 'replid', replid, 'counter', 0)
  return offered
end
return incarnation
