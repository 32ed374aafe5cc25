-- Gives a unit back untried; the attempt does not count, and it is hinted again after a pause.
-- ARGV: job, stage, chunk, token, pause ms.
local unit = unit_of(ARGV[1], ARGV[2], ARGV[3])
if not is_held(unit, ARGV[4]) then return 0 end
redis.call('HDEL', OWNER, unit)
redis.call('HINCRBY', ATTEMPTS, attempts_of(ARGV[1], ARGV[3]), -1)
redis.call('HINCRBY', METRICS, 'claims', -1)
redis.call('ZADD', OPEN, now_ms() + ARGV[5], unit)
return 1
