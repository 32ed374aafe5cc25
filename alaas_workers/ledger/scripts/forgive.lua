-- Long work has moved on since it was last lost: its attempts start again, for the holder of the lease.
-- ARGV: job, stage, chunk, token.
if not is_held(unit_of(ARGV[1], ARGV[2], ARGV[3]), ARGV[4]) then return 0 end
redis.call('HSET', ATTEMPTS, attempts_of(ARGV[1], ARGV[3]), 1)
return 1
