-- Finishes a unit for its holder and opens what follows: the next stage, or the selection after the last chunk.
-- ARGV: job, stage, chunk, token, next stage ('' ends the chunk), bytes, seconds, samples, failures (packed), grace ms,
-- then pairs of error code and count. Returns {0} when fenced off, else {1, selection opened (0/1)}.
local job, stage, chunk = ARGV[1], ARGV[2], ARGV[3]
local unit, follows = unit_of(job, stage, chunk), ARGV[5]
if not is_held(unit, ARGV[4]) then return { 0 } end
close_unit(unit)
redis.call('HINCRBY', METRICS, 'finished', 1)
redis.call('HINCRBY', METRICS, 'samples:' .. stage, ARGV[8])
redis.call('HINCRBYFLOAT', METRICS, 'seconds:' .. stage, ARGV[7])
if stage == 'selection' then
  forget_job(job) -- its report is in the catalog by now
  return { 1, 0 }
end
-- A chunk that was sent back passes a stage again, and must not count twice in what users see.
local place = 0
for i, name in ipairs(STAGES) do if name == stage then place = i end end
local reached = tonumber(redis.call('HGET', REACHED .. job, chunk) or '0')
-- One that ends early, since every sample failed, has passed the later stages as well.
for i = reached + 1, (follows == '' and 3 or place) do
  redis.call('HINCRBY', JOB .. job, 'done:' .. STAGES[i], ARGV[8])
end
if reached < place then
  redis.call('HSET', REACHED .. job, chunk, place)
  for i = 11, #ARGV, 2 do
    redis.call('HINCRBY', JOB .. job, 'failed', ARGV[i + 1])
    redis.call('HINCRBY', METRICS, 'errors:' .. ARGV[i], ARGV[i + 1])
  end
end
if ARGV[9] ~= '' then
  redis.call('HSET', RESULTS .. job, chunk .. '|' .. stage, ARGV[9])
else
  redis.call('HDEL', RESULTS .. job, chunk .. '|' .. stage)
end
if follows ~= '' then
  redis.call('HINCRBY', ATTEMPTS, attempts_of(job, chunk), -1)
  redis.call('HDEL', ATTEMPTS, attempts_of(job, chunk .. '|put off'))
  redis.call('HSET', BYTES, job .. '|' .. chunk, ARGV[6])
  if stage == 'download' then
    redis.call('HINCRBY', METRICS, 'bytes:download', ARGV[6])
    redis.call('HINCRBY', METRICS, 'chunks:download', 1)
  end
  open_unit(job, follows, chunk, ARGV[10])
  return { 1, 0 }
end
forget_chunk(job, chunk)
wake()
return { 1, open_selection_if_scanned(job, ARGV[10]) }
