-- Marks a job as lost for a reason; the dispatcher writes it down and forgets it. ARGV: job, problem as JSON.
if redis.call('EXISTS', JOB .. ARGV[1]) == 0 then return 0 end
even_when_full()
redis.call('HSETNX', JOB .. ARGV[1], 'problem', ARGV[2])
redis.call('HSET', JOB .. ARGV[1], 'state', 'failing')
wake()
return 1
