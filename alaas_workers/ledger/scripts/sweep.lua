-- Takes the overdue units: leases that ran out end, and each gets a new deadline, so that one dispatcher has it.
-- ARGV: at most so many, grace ms. Returns a flat list of unit, was leased (0/1), attempts; oldest first.
local now, taken = now_ms(), {}
for _, unit in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local was_leased = redis.call('HDEL', OWNER, unit)
  redis.call('ZADD', OPEN, now + ARGV[2], unit)
  if was_leased == 1 then redis.call('HINCRBY', METRICS, 'expired_leases', 1) end
  taken[#taken + 1] = unit
  taken[#taken + 1] = tostring(was_leased)
  local job, chunk = string.match(unit, '^([^|]*)|[^|]*|(.*)$')
  taken[#taken + 1] = redis.call('HGET', ATTEMPTS, attempts_of(job, chunk)) or '0'
end
return taken
