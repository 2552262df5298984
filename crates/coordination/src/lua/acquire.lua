-- KEYS: lease, fence, queue, seen. ARGV: attempt, ttl in ms, offered incarnation (0 = none), 1 when the attempt waits
-- in the queue, waiter ttl in ms, most waiters, channel, replication id that the offered incarnation was drawn for.
-- Returns {1, incarnation, counter, value} = acquired, {0, place in the queue, ms until the lease ends, ''} = not now,
-- {2, incarnation, 0, replication id} = an incarnation above this one must be drawn and offered for this replication
-- id, {3, waiters, 0, ''} = the queue is full.
local lease, fence, queue, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local attempt, ttl, offered, waits = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local now = clock_ms()

local function stay()
  if not redis.call('zscore', queue, attempt) then
    local waiters = redis.call('zcard', queue)
    if waiters >= tonumber(ARGV[6]) then
      return {3, waiters, 0, ''}
    end
    local last = redis.call('zrevrange', queue, 0, 0, 'withscores')
    redis.call('zadd', queue, whole((tonumber(last[2]) or 0) + 1), attempt)
  end
  redis.call('zadd', seen, whole(now), attempt)
  -- Nobody has to clean up after the last waiter.
  redis.call('pexpire', queue, 2 * ARGV[5])
  redis.call('pexpire', seen, 2 * ARGV[5])
  return nil
end

local standing = redis.call('get', lease)
if standing then
  -- It was granted to this attempt, which didn't hear of it and asks again.
  local incarnation, counter, holder = string.match(standing, '^(%d+):(%d+):%d+:(.*)$')
  if holder == attempt then
    redis.call('pexpire', lease, ttl)
    return {1, tonumber(incarnation), tonumber(counter), standing}
  end
end

local first = head_of(queue)
local head = first and put_out(queue, seen, now, tonumber(ARGV[5]))
local free = not standing
if not free or (head and head ~= attempt) then
  if free and head ~= first then
    -- The head was dead and the lease waits: its successor shall not find out by its next look.
    redis.call('publish', ARGV[7], head)
  end
  if not waits then
    return {0, 0, 0, ''}
  end
  local full = stay()
  if full then
    return full
  end
  return {0, redis.call('zrank', queue, attempt), math.max(redis.call('pttl', lease), 0), ''}
end

-- Asked for on the server that will hold the token, at the moment it is given: a connection may outlive a
-- failover or a promotion, and what it read when it was opened with it.
local replication = redis.call('info', 'replication')
-- A plain search: a pattern would be tried at each of the two hundred places before it.
local _, before = string.find(replication, 'master_replid:', 1, true)
local replid = string.sub(replication, before + 1, before + 40)
local memory = redis.call('hmget', fence, 'incarnation', 'replid', 'counter')
local incarnation = tonumber(memory[1] or '0')
local counter = tonumber(memory[3] or '0')
-- Only where it was drawn for: a cluster's client repeats a command whose answer it missed, and two servers that both
-- count under one incarnation would give the same tokens to different holders.
if offered > incarnation and ARGV[8] == replid then
  incarnation = offered
  counter = 0
elseif incarnation == 0 or memory[2] ~= replid or counter >= 4294967295 then
  -- Whoever waits keeps its place while it draws.
  return waits and stay() or {2, incarnation, 0, replid}
end
counter = counter + 1
local upper, lower = whole(incarnation), whole(counter)
redis.call('hset', fence, 'incarnation', upper, 'replid', replid, 'counter', lower)
local value = upper .. ':' .. lower .. ':' .. whole(now) .. ':' .. attempt
redis.call('set', lease, value, 'px', ttl)
if head then
  take_out(queue, seen, attempt)
end
return {1, incarnation, counter, value}
