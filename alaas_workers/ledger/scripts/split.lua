-- Replaces a chunk by two, from the start, for the holder of its lease.
-- ARGV: job, stage, chunk, token, samples of the first half, of the second, attempts that each starts with, grace ms.
local job, chunk = ARGV[1], ARGV[3]
local unit = unit_of(job, ARGV[2], chunk)
if not is_held(unit, ARGV[4]) then return 0 end
close_unit(unit)
local reached = redis.call('HGET', REACHED .. job, chunk)
for half = 0, 1 do
  local child = chunk .. '.' .. half
  redis.call('HSET', CHUNKS .. job, child, ARGV[5 + half])
  if reached then redis.call('HSET', REACHED .. job, child, reached) end
  redis.call('HSET', ATTEMPTS, attempts_of(job, child), ARGV[7])
  open_unit(job, 'download', child, ARGV[8])
end
forget_chunk(job, chunk)
for _, stage in ipairs(STAGES) do redis.call('HDEL', RESULTS .. job, chunk .. '|' .. stage) end
return 1
