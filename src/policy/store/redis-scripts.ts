import { createHash } from "node:crypto";

/** A Lua script, which Redis runs as one step. */
export interface StoreScript {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
}

/**
 * What all scripts begin with. They are given KEYS and one JSON text that points into them by place. Time is the
 * server's: a replica whose clock is wrong locks nobody up and lets nobody out. Every key that is written has an end.
 */
const PRELUDE = `
local q = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000)
local stamp = string.format('%.0f', us)
local function whole(n) return string.format('%.0f', n) end

local function has(at, what)
  if not at then return false end
  local ends = redis.call('ZSCORE', KEYS[at], what)
  return ends and tonumber(ends) > now
end

local function remember(at, what, ms, each)
  redis.call('ZADD', KEYS[at], whole(now + ms), what)
  redis.call('ZREMRANGEBYSCORE', KEYS[at], '-inf', whole(now))
  redis.call('ZREMRANGEBYRANK', KEYS[at], 0, -each - 1)
  redis.call('PEXPIRE', KEYS[at], ms)
end

local v = q.visitor
local function known() return v and has(v.networks, v.network) or false end
local function repeated()
  if not v or not v.print then return false end
  return has(v.wrong, v.print) or has(v.strangers, v.print) or false
end

-- Of this network, whether it may still repeat itself for nothing.
local function isFree(times) return tonumber(times or 0) <= q.repeats.points end
local function repeatsFreely()
  if not repeated() then return false end
  local times = redis.call('INCR', KEYS[v.repeats])
  if times == 1 then redis.call('PEXPIRE', KEYS[v.repeats], q.repeats.windowMs) end
  return isFree(times)
end

-- The ban at a key, if it holds: by, milliseconds left, times, whether it spares known networks.
local function standing(at)
  local b = redis.call('HMGET', KEYS[at], 'by', 'till', 'times', 'spares')
  if not b[2] or tonumber(b[2]) <= now then return nil end
  return { by = b[1], left = tonumber(b[2]) - now, times = tonumber(b[3]), spares = b[4] == '1' }
end

-- What a sentence comes to now, how often it was then, and until when the last one holds.
local function weigh(s)
  local b = redis.call('HMGET', KEYS[s.at], 'till', 'times', 'forget')
  local till, times = tonumber(b[1] or 0), 1
  if tonumber(b[3] or 0) > now then times = tonumber(b[2]) + (till > now and 0 or 1) end
  return math.min(s.ms * 2 ^ (times - 1), math.max(s.upTo, s.ms)), times, till
end

local function impose(s)
  local ms, times, till = weigh(s)
  local ends = now + ms
  if till >= ends then return nil end
  local forget = ends + (s.upTo > s.ms and s.upTo or 0)
  redis.call('HSET', KEYS[s.at], 'by', s.by, 'till', whole(ends), 'times', times, 'forget', whole(forget),
    'spares', s.spares and '1' or '0')
  redis.call('PEXPIREAT', KEYS[s.at], whole(forget))
  redis.call('ZADD', KEYS[s.list], whole(ends), s.key)
  redis.call('ZREMRANGEBYSCORE', KEYS[s.list], '-inf', whole(now))
  redis.call('ZREMRANGEBYRANK', KEYS[s.list], 0, -s.most - 1)
  redis.call('PEXPIREAT', KEYS[s.list], redis.call('ZRANGE', KEYS[s.list], -1, -1, 'WITHSCORES')[2])
  return { s.key, s.by, whole(ms), times }
end

-- Of how many different ones: whether this one is counted in the window that lasts now.
local function counted(b)
  if not b.different or redis.call('EXISTS', KEYS[b.at]) == 0 then return false end
  return redis.call('SISMEMBER', KEYS[b.different], b.distinct) == 1
end

local function count(b, isKnown)
  local taken, left, own
  if b.window then
    taken = tonumber(redis.call('HGET', KEYS[b.at], 'taken') or 0)
    own = taken
    left = redis.call('PTTL', KEYS[b.at])
    if b.decoy then
      taken = taken + tonumber(redis.call('HGET', KEYS[b.decoy], 'taken') or 0)
      left = math.max(left, redis.call('PTTL', KEYS[b.decoy]))
    end
    if left < 0 then left = b.window end
  else
    taken = redis.call('ZCOUNT', KEYS[b.at], '(' .. whole(now), '+inf')
    left, own = -1, taken
  end
  local passes = b.ofName and isKnown or counted(b)
  local over = not passes and taken + math.max(b.cost, 1) > b.points
  return { taken = taken, left = left, over = over, own = own }
end

local function open(at, window)
  if redis.call('EXISTS', KEYS[at]) == 1 then return end
  redis.call('HSET', KEYS[at], 'window', stamp, 'taken', 0, 'open', 0)
  redis.call('PEXPIRE', KEYS[at], window)
end

-- Counted, and the window it was counted in; of seats, the one that was taken.
local function add(b)
  if b.window then
    open(b.at, b.window)
    redis.call('HINCRBY', KEYS[b.at], 'taken', b.cost)
    if q.guess then redis.call('HINCRBY', KEYS[b.at], 'open', b.cost) end
    return redis.call('HGET', KEYS[b.at], 'window')
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[b.at], '-inf', whole(now))
  for n = 1, b.cost do redis.call('ZADD', KEYS[b.at], whole(now + q.seatMs), q.who .. ':' .. stamp .. ':' .. n) end
  redis.call('PEXPIRE', KEYS[b.at], q.seatMs)
  return stamp
end

-- So many more than the limit are told apart: beyond that nobody needs to know how many there are.
local MORE = 1000
local function addDifferent(b)
  if counted(b) then return 0 end
  if redis.call('EXISTS', KEYS[b.at]) == 0 then redis.call('DEL', KEYS[b.different]) end
  if redis.call('SCARD', KEYS[b.different]) > b.points + MORE then return 0 end
  open(b.at, b.window)
  redis.call('HINCRBY', KEYS[b.at], 'taken', 1)
  redis.call('SADD', KEYS[b.different], b.distinct)
  redis.call('PEXPIRE', KEYS[b.different], redis.call('PTTL', KEYS[b.at]) + 1)
  return 1
end

local function giveBack(r)
  if not r.windowed then
    for n = 1, r.cost do redis.call('ZREM', KEYS[r.at], r.who .. ':' .. r.window .. ':' .. n) end
    return
  end
  if redis.call('HGET', KEYS[r.at], 'window') ~= r.window then return end
  if r.guess then redis.call('HINCRBY', KEYS[r.at], 'open', -r.cost) end
  if redis.call('HINCRBY', KEYS[r.at], 'taken', -r.cost) <= 0 then redis.call('DEL', KEYS[r.at]) end
end

local function keep(r)
  if not r.windowed then return nil end
  if r.ofName and q.outcome == 'unknownName' then
    giveBack(r)
    open(r.decoy, r.windowed)
    local decoys = redis.call('HINCRBY', KEYS[r.decoy], 'taken', r.cost)
    -- A name that no guess ever bans would be known to be nobody's, too.
    if r.ban and decoys >= r.points then return impose(r.ban) end
    return nil
  end
  if redis.call('HGET', KEYS[r.at], 'window') ~= r.window then return nil end
  local undecided = redis.call('HINCRBY', KEYS[r.at], 'open', -r.cost)
  local taken = tonumber(redis.call('HGET', KEYS[r.at], 'taken'))
  if r.ban and taken - undecided >= r.points then return impose(r.ban) end
  return nil
end
`;

function script(name: string, body: string): StoreScript {
  const lua = PRELUDE + body;
  return { name, lua, sha: createHash("sha1").update(lua).digest("hex") };
}

export const TAKE = script(
  "take",
  `
local isKnown = known()
local longest
for _, ban in ipairs(q.bans) do
  local b = standing(ban.at)
  if b and not (isKnown and b.spares) and (not longest or b.left > longest[3]) then
    longest = { ban.key, b.by, b.left, b.times }
  end
end
if longest then return { 'ban', longest[1], longest[2], whole(longest[3]), longest[4] } end
local counts, refused = {}, 0
for i, b in ipairs(q.buckets) do
  counts[i] = count(b, isKnown)
  if counts[i].over and not b.soft then refused = 1 end
end
local imposed = {}
if not q.guess then
  for i, b in ipairs(q.buckets) do
    local ban = b.ban and b.cost > 0 and counts[i].over and impose(b.ban)
    if ban then imposed[#imposed + 1] = ban end
  end
end
local none = refused == 1 or (q.guess and repeatsFreely())
local rows = {}
for i, b in ipairs(q.buckets) do
  local window = ''
  if not none and b.cost > 0 and b.different then
    counts[i].taken = counts[i].taken + addDifferent(b)
  elseif not none and b.cost > 0 and not (b.ofName and isKnown) then
    window = add(b)
    counts[i].taken = counts[i].taken + b.cost
  end
  rows[i] = { whole(counts[i].taken), whole(counts[i].left), counts[i].over and 1 or 0, window }
end
return { 'taken', refused, rows, imposed }
`,
);

export const GIVE_BACK = script("give-back", "for _, r in ipairs(q.receipts) do giveBack(r) end return 1");

export const SETTLE = script(
  "settle",
  `
if q.outcome == 'right' and v then remember(v.networks, v.network, q.networks.ms, q.networks.each) end
local wrong = q.outcome == 'wrong' or q.outcome == 'unknownName'
local again = wrong and repeated() and isFree(redis.call('GET', KEYS[v.repeats]))
if wrong and v and v.print then
  remember(q.outcome == 'wrong' and v.wrong or v.strangers, v.print, q.passwords.ms, q.passwords.each)
end
local imposed = {}
for _, r in ipairs(q.receipts) do
  if not wrong or again then giveBack(r)
  else
    local ban = keep(r)
    if ban then imposed[#imposed + 1] = ban end
  end
end
return imposed
`,
);

export const LOOK = script(
  "look",
  `
local isKnown = known()
local bans, rows = {}, {}
for _, ban in ipairs(q.bans) do
  local b = standing(ban.at)
  if b then bans[#bans + 1] = { ban.key, b.by, whole(b.left), b.times } end
end
for i, b in ipairs(q.buckets) do
  local c = count(b, isKnown)
  -- What a decoy holds is nobody's.
  rows[i] = { whole(c.own), whole(c.left), c.over and 1 or 0, b.ban and whole(weigh(b.ban)) or '' }
end
return { isKnown and 1 or 0, bans, rows }
`,
);

export const IMPOSE = script("ban", "return impose(q.ban) or false");

export const LIST = script(
  "bans",
  "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), '+inf', 'LIMIT', 0, q.most)",
);

export const UNBAN = script(
  "unban",
  `
local held = standing(1) and 1 or 0
redis.call('ZREM', KEYS[2], q.key)
for _, key in ipairs(KEYS) do if key ~= KEYS[2] then redis.call('DEL', key) end end
return held
`,
);

/** Also one that is not there any more: whoever sits there is there, whatever Redis has forgotten. */
export const RENEW = script(
  "renew",
  `
for _, seat in ipairs(q.seats) do
  redis.call('ZADD', KEYS[seat.at], whole(now + q.seatMs), seat.member)
  redis.call('PEXPIRE', KEYS[seat.at], q.seatMs)
end
return 1
`,
);
