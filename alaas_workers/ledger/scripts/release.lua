-- Gives a unit back untried; the attempt does not count, and it is hinted again after a pause.
-- ARGV: job, stage, chunk, token, pause ms, whether to count that it was put off (0/1).
-- Returns how often this chunk was put off since it last passed a stage, 0 when fenced off.
local job, chunk = ARGV[1], ARGV[3]
local unit = unit_of(job, ARGV[2], chunk)
if not is_held(unit, ARGV[4]) then return 0 end
redis.call('HDEL', OWNER, unit)
redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk), -1)
redis.call('ZADD', OPEN, now_ms() + ARGV[5], unit)
return redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk .. '|put off'), ARGV[6])
