-- Features vanished between scan and selection: plan the job again from its start, for the holder of the selection.
-- ARGV: job, token. Returns the new round, 0 when fenced off.
local unit = unit_of(ARGV[1], 'selection', 'all')
if not is_held(unit, ARGV[2]) then return 0 end
close_unit(unit)
forget_chunk(ARGV[1], 'all')
if redis.call('HGET', JOB .. ARGV[1], 'state') ~= 'failing' then
  redis.call('HSET', JOB .. ARGV[1], 'state', 'planning')
end
redis.call('HSET', JOB .. ARGV[1], 'planned', '0', 'cursor', '-1')
wake()
return redis.call('HINCRBY', JOB .. ARGV[1], 'round', 1)
