-- Takes the lease of a unit. ARGV: job, stage, chunk, token, lease ms.
-- Returns {} when it is finished, cancelled, leased to another, or its job is failing; else {spec, samples, attempts}.
local job, chunk, token = ARGV[1], ARGV[3], ARGV[4]
local unit = unit_of(job, ARGV[2], chunk)
local deadline = redis.call('ZSCORE', OPEN, unit)
if not deadline then return {} end
local held = redis.call('HMGET', JOB .. job, 'spec', 'state')
local spec = held[1]
local samples = ARGV[2] == 'selection' and '' or redis.call('HGET', CHUNKS .. job, chunk)
if not spec or not samples then
  close_unit(unit)
  return {}
end
if held[2] == 'failing' then return {} end
local owner, now = redis.call('HGET', OWNER, unit), now_ms()
if owner and owner ~= token and tonumber(deadline) > now then return {} end
even_when_full()
if owner ~= token then
  redis.call('HSET', OWNER, unit, token)
  redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk), 1)
  redis.call('HINCRBY', METRICS, 'claims', 1)
end
redis.call('ZADD', OPEN, now + ARGV[5], unit)
return { spec, samples, redis.call('HGET', ATTEMPTS, attempts_of(job, chunk)) }
