-- Shared by the scripts that know the queue: `queue` = waiters by ticket, `seen` = waiters by when they last looked.
local function clock_ms()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function head_of(queue)
  return redis.call('zrange', queue, 0, 0)[1]
end

local function take_out(queue, seen, waiter)
  redis.call('zrem', seen, waiter)
  return redis.call('zrem', queue, waiter)
end

-- Takes out the waiters that did not look for `waiter_ttl`, and returns who is the head now.
local function put_out(queue, seen, now, waiter_ttl)
  -- After a failover to a server whose clock is behind, nobody may count as seen in the future.
  for _, waiter in ipairs(redis.call('zrangebyscore', seen, '(' .. whole(now), '+inf')) do
    redis.call('zadd', seen, whole(now), waiter)
  end
  for _, waiter in ipairs(redis.call('zrangebyscore', seen, '-inf', whole(now - waiter_ttl))) do
    take_out(queue, seen, waiter)
  end
  local head = head_of(queue)
  -- Memory pressure may evict one of the two keys alone.
  while head and not redis.call('zscore', seen, head) do
    take_out(queue, seen, head)
    head = head_of(queue)
  end
  return head
end
