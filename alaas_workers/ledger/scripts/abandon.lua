-- A worker's process is known to be dead: its lease ends now. ARGV: unit, prefix of its token.
local owner = redis.call('HGET', OWNER, ARGV[1])
if not owner or string.sub(owner, 1, #ARGV[2]) ~= ARGV[2] then return 0 end
even_when_full()
redis.call('ZADD', OPEN, 'XX', now_ms(), ARGV[1])
wake()
return 1
