-- Opens a job once. ARGV: job, spec, total samples.
if redis.call('EXISTS', JOB .. ARGV[1]) == 1 then return 0 end
local turn = redis.call('INCR', TURN)
redis.call('HSET', JOB .. ARGV[1], 'opened', turn, 'state', 'planning', 'spec', ARGV[2], 'total', ARGV[3],
  'cursor', '-1', 'planned', '0', 'round', '0', 'next_chunk', '0')
redis.call('ZADD', JOBS, turn, ARGV[1])
wake()
return 1
