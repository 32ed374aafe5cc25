-- Moves a job's cursor on and opens the chunk that lies between, if any sample there lacks features.
-- The cursor is compared first, so that of two dispatchers, or of a call sent twice, one has an effect.
-- ARGV: job, round, cursor seen, cursor new, planned (0/1), samples (packed, '' for none), found in cache, missing,
-- grace ms, the turn at which the job was opened (a job that started anew is another one).
-- Returns {0} when stale, else {1, chunk ('' for none), selection opened (0/1)}.
local job = ARGV[1]
local seen = redis.call('HMGET', JOB .. job, 'state', 'round', 'cursor', 'planned', 'opened')
if seen[1] ~= 'planning' or seen[2] ~= ARGV[2] or seen[3] ~= ARGV[3] or seen[4] == '1' or seen[5] ~= ARGV[10] then
  return { 0 }
end
redis.call('HSET', JOB .. job, 'cursor', ARGV[4], 'planned', ARGV[5])
if ARGV[2] == '0' then redis.call('HINCRBY', JOB .. job, 'cached', ARGV[7]) end
redis.call('HINCRBY', METRICS, 'cache_hits', ARGV[7])
redis.call('HINCRBY', METRICS, 'cache_misses', ARGV[8])
redis.call('ZADD', JOBS, redis.call('INCR', TURN), job)
local chunk = ''
if ARGV[6] ~= '' then
  chunk = tostring(redis.call('HINCRBY', JOB .. job, 'next_chunk', 1) - 1)
  redis.call('HSET', CHUNKS .. job, chunk, ARGV[6])
  open_unit(job, 'download', chunk, ARGV[9])
end
return { 1, chunk, open_selection_if_scanned(job, ARGV[9]) }
