-- The chunk's intermediate tensor is gone from the cache: back to download. ARGV: job, stage, chunk, token, grace ms.
-- Returns how often this chunk came back, 0 when fenced off.
local job, chunk = ARGV[1], ARGV[3]
local unit = unit_of(job, ARGV[2], chunk)
if not is_held(unit, ARGV[4]) then return 0 end
close_unit(unit)
redis.call('HDEL', BYTES, job .. '|' .. chunk)
redis.call('HINCRBY', METRICS, 'returned_chunks', 1)
open_unit(job, 'download', chunk, ARGV[5])
redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk), -1)
return redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk .. '|returns'), 1)
