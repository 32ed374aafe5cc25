-- Takes the lease of a unit. ARGV: job, stage, chunk, token, lease ms.
-- Returns {} when it is finished, cancelled or leased to another; else {spec, samples, attempts}.
local job, chunk, token = ARGV[1], ARGV[3], ARGV[4]
local unit = unit_of(job, ARGV[2], chunk)
local deadline = redis.call('ZSCORE', OPEN, unit)
if not deadline then return {} end
local spec = redis.call('HGET', JOB .. job, 'spec')
local samples = ARGV[2] == 'selection' and '' or redis.call('HGET', CHUNKS .. job, chunk)
if not spec or not samples then
  close_unit(unit)
  return {}
end
local owner, now = redis.call('HGET', OWNER, unit), now_ms()
if owner and owner ~= token and tonumber(deadline) > now then return {} end
if owner ~= token then
  redis.call('HSET', OWNER, unit, token)
  redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk), 1)
end
redis.call('ZADD', OPEN, now + ARGV[5], unit)
return { spec, samples, redis.call('HGET', ATTEMPTS, attempts_of(job, chunk)) }
