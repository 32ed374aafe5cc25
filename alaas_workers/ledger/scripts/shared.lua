-- Prepended to every script. KEYS are fixed names, so that a script reads like the ledger's page in reliability.md:
-- open, owner, attempts, bytes, jobs, turn, wake, metrics, and the prefixes of the keys that belong to one job.
local OPEN, OWNER, ATTEMPTS, BYTES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local JOBS, TURN, WAKE, METRICS = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local JOB, CHUNKS, REACHED, RESULTS = KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local STAGES = { 'download', 'preprocess', 'inference', 'selection' }

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function unit_of(job, stage, chunk) return job .. '|' .. stage .. '|' .. chunk end

local function wake()
  -- Its length is bounded, since the dispatcher empties it at once and a missing wake costs one tick only.
  redis.call('LPUSH', WAKE, '1')
  redis.call('LTRIM', WAKE, 0, 15)
end

-- Work in hand must come to its end in a full Redis too, or what it holds would never be freed. Redis refuses a script
-- whose first write takes memory, and lets pass all that follow a first one that takes none.
local function even_when_full() redis.call('HDEL', OWNER, '') end

local function is_held(unit, token)
  return redis.call('HGET', OWNER, unit) == token and redis.call('ZSCORE', OPEN, unit) ~= false
end

local function close_unit(unit)
  redis.call('ZREM', OPEN, unit)
  redis.call('HDEL', OWNER, unit)
end

-- Attempts belong to the chunk over all its stages: a claim adds one and the work's end takes it back, so that what
-- remains is how often a worker was lost with this chunk in its hands.
local function attempts_of(job, chunk) return job .. '|' .. chunk end

local function forget_chunk(job, chunk)
  redis.call('HDEL', CHUNKS .. job, chunk)
  redis.call('HDEL', REACHED .. job, chunk)
  redis.call('HDEL', BYTES, attempts_of(job, chunk))
  for _, counter in ipairs({ '', '|returns', '|put off' }) do
    redis.call('HDEL', ATTEMPTS, attempts_of(job, chunk .. counter))
  end
end

local function open_unit(job, stage, chunk, grace_ms)
  redis.call('ZADD', OPEN, 'NX', now_ms() + grace_ms, unit_of(job, stage, chunk))
end

-- The last chunk's end opens the selection, in the same script as that end. A job that is failing stays so.
local function open_selection_if_scanned(job, grace_ms)
  local now = redis.call('HMGET', JOB .. job, 'state', 'planned')
  if now[1] == 'planning' and now[2] == '1' and redis.call('HLEN', CHUNKS .. job) == 0 then
    redis.call('HSET', JOB .. job, 'state', 'selecting')
    open_unit(job, 'selection', 'all', grace_ms)
    return 1
  end
  return 0
end

-- Takes everything of a job away: it ended, was cancelled, or starts anew.
local function forget_job(job)
  for _, chunk in ipairs(redis.call('HKEYS', CHUNKS .. job)) do
    for _, stage in ipairs(STAGES) do close_unit(unit_of(job, stage, chunk)) end
    forget_chunk(job, chunk)
  end
  close_unit(unit_of(job, 'selection', 'all'))
  forget_chunk(job, 'all')
  redis.call('DEL', JOB .. job, CHUNKS .. job, REACHED .. job, RESULTS .. job)
  wake()
  return redis.call('ZREM', JOBS, job)
end
