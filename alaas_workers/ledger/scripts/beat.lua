-- Extends the lease, for the holder of the token only. ARGV: unit, token, lease ms.
if not is_held(ARGV[1], ARGV[2]) then return 0 end
even_when_full()
redis.call('ZADD', OPEN, now_ms() + ARGV[3], ARGV[1])
return 1
