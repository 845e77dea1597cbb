"""What the scripts within the Redis server have in common: where they keep what, and how a queue is served.

All keys begin with one prefix that has a hash tag, so that they share one slot of a cluster
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags):

``P``               a hash: all leases, waiters and counters, so that they are lost together or not at all:
  ``\\1token``       the highest token given; ``\\1epoch`` the first of this data; ``\\1seq`` the last place in a queue
  ``\\2SESSION``     how many leases the session has
  ``\\3REQUEST``     a waiter
  ``NAME``          the leases of that name, those that lapsed among them until somebody takes the name
``P:queue:NAME``    the requests that wait for it, by their place
``P:wake:REQUEST``  what a waiter is told; it blocks on this list
``P:verdict:REQUEST``  why it was refused; ``P:refused:SEQ`` the same, by its place
``P:freed:TOKEN``   that lease was given back: a release that is sent twice finds that it was done
``P:gone:TOKEN``    why that lease was taken away

Times are microseconds of the server's wall clock. A token is the larger of the last one plus one, the highest that
the client's machine has seen plus one, and the server's time: so it still grows after the server lost its data, or is
a replica that lagged behind (a hybrid logical clock: Kulkarni and others, "Logical Physical Clocks", 2014). It stays
below 2^53, which a Lua number holds exactly, until the year 2255.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1

KEEP = 60.0
"""Seconds for which a waiter that no longer shows that it lives keeps its place, unserved, in case it comes back."""
REASONS = 3600.0
"""Seconds for which it is known why a lease was taken away."""
WATCHERS = 4
"""So many waiters of each machine look whether its holders live."""

_HEAD = r"""
local P = KEYS[1]
-- a lease
local TOKEN, HOLDER, ID, BOOT, SESSION, SLOTS, PERMITS = 1, 2, 3, 4, 5, 6, 7
local SINCE, EXPIRES, REQUEST, TTL = 8, 9, 10, 11
-- a waiter has its name in the place of the token, and its place in the queue in that of the request; it expires when
-- it is silent for too long
local NAME, SEQ = 1, 10
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
"""

_COMMON = (
    f"local KEEP, REASONS, WATCHERS = {KEEP * 1_000_000:.0f}, {REASONS * 1000:.0f}, {WATCHERS}"
    r"""
local function int(number) return string.format('%.0f', number) end
local function queue_of(name) return P .. ':queue:' .. name end

local function read(blob)
  local leases, lapsed = {}, {}
  if blob then
    for _, lease in ipairs(cmsgpack.unpack(blob)) do
      if lease[EXPIRES] > now then leases[#leases + 1] = lease else lapsed[#lapsed + 1] = lease end
    end
  end
  return leases, lapsed
end

local function count(session, by)
  if redis.call('HINCRBY', P, '\2' .. session, by) <= 0 then redis.call('HDEL', P, '\2' .. session) end
end

local function forget(lapsed)
  for _, lease in ipairs(lapsed) do count(lease[SESSION], -1) end
end

local function save(name, leases)
  if #leases == 0 then redis.call('HDEL', P, name) else redis.call('HSET', P, name, cmsgpack.pack(leases)) end
end

local function joined(leases, lapsed)
  for _, lease in ipairs(lapsed) do leases[#leases + 1] = lease end
  return leases
end

local function used(leases)
  local slots = 0
  for _, lease in ipairs(leases) do slots = slots + lease[SLOTS] end
  return slots
end

local function drop(name, request)
  redis.call('HDEL', P, '\3' .. request)
  redis.call('ZREM', queue_of(name), request)
end

local function wake(request, message)
  local key = P .. ':wake:' .. request
  redis.call('RPUSH', key, message)
  redis.call('PEXPIRE', key, 60000)
end

local function waiter(request)
  local blob = redis.call('HGET', P, '\3' .. request)
  return blob and cmsgpack.unpack(blob)
end

-- Grant to the waiter, and tell it. Its lease begins now.
local function serve(leases, request, w, token)
  local lease = {token, w[HOLDER], w[ID], w[BOOT], w[SESSION], w[SLOTS], w[PERMITS], now, now + w[TTL], request, w[TTL]}
  leases[#leases + 1] = lease
  count(w[SESSION], 1)
  drop(w[NAME], request)
  redis.call('DEL', P .. ':wake:' .. request)
  wake(request, 'granted ' .. int(token) .. ' ' .. int(now))
  return lease
end

local function next_token()
  return math.max(tonumber(redis.call('HGET', P, '\1token') or 0) + 1, now)
end

-- Serve the queue in turn, as far as the permits go. Who is silent is not served but keeps its place for a while. The
-- first of those left over on the machine of a new holder is told, for it can see at once when that one dies. Where a
-- lease is over (freed), and what it gave back is not enough for who is next, the first behind who could have it and
-- holds something is told to look whether only that place keeps it in a circle.
local function pump(name, leases, lapsed, freed)
  local queue = queue_of(name)
  freed = freed or #lapsed > 0
  local slots, place, open, fresh, first = used(leases), 0, true, {}, false
  while true do
    local request = redis.call('ZRANGE', queue, place, place)[1]
    if not request then break end
    local w = waiter(request)
    if not w or w[EXPIRES] + KEEP < now then
      drop(name, request)
    elseif w[EXPIRES] <= now then
      place = place + 1
    elseif open and slots + w[SLOTS] <= w[PERMITS] then
      slots = slots + w[SLOTS]
      local token = next_token()
      redis.call('HSET', P, '\1token', int(token))
      fresh[#fresh + 1] = serve(leases, request, w, token)
    else
      open, first = false, first or w
      freed = freed and slots < w[PERMITS]
      if freed and slots + w[SLOTS] <= w[PERMITS] and redis.call('HEXISTS', P, '\2' .. w[SESSION]) == 1 then
        wake(request, 'untangle')
        freed = false
      end
      local left = {}
      for _, lease in ipairs(fresh) do
        if lease[BOOT] == w[BOOT] then
          wake(request, 'watch ' .. int(lease[TOKEN]) .. ' ' .. lease[ID])
        else
          left[#left + 1] = lease
        end
      end
      fresh, place = left, place + 1
      if #fresh == 0 and not freed or place > 32 then break end
    end
  end
  if #leases > 0 then forget(lapsed) else joined(leases, lapsed) end
  save(name, leases)
  return first
end

local function grant_of(leases, request)
  for _, lease in ipairs(leases) do
    if lease[REQUEST] == request then return {'granted', lease[TOKEN], lease[EXPIRES] - now} end
  end
end

local function find(leases, token)
  for i, lease in ipairs(leases) do
    if lease[TOKEN] == token then return i, lease end
  end
end

-- Those whose death a process of this boot can see.
local function watched(reply, leases, boot)
  for _, lease in ipairs(leases) do
    if lease[BOOT] == boot then
      reply[#reply + 1] = lease[TOKEN]
      reply[#reply + 1] = lease[ID]
    end
  end
  return reply
end

-- A few of each machine are enough to watch: those that were there first.
local function watches(name, request, boot)
  local before = 0
  for place = 0, 31 do
    local other = redis.call('ZRANGE', queue_of(name), place, place)[1]
    if not other or other == request then return true end
    local w = waiter(other)
    if w and w[BOOT] == boot and w[EXPIRES] > now then before = before + 1 end
    if before == WATCHERS then return false end
  end
  return true
end

local function waiting(name, request, w, leases)
  local lapse = 0
  for _, lease in ipairs(leases) do
    if lapse == 0 or lease[EXPIRES] - now < lapse then lapse = lease[EXPIRES] - now end
  end
  local reply = {'waiting', now, lapse, redis.call('HEXISTS', P, '\2' .. w[SESSION])}
  if watches(name, request, w[BOOT]) then watched(reply, leases, w[BOOT]) end
  return reply
end

local function why(leases, token)
  local gone = redis.call('GET', P .. ':gone:' .. int(token))
  if gone then return {'gone', gone} end
  local state = redis.call('HMGET', P, '\1token', '\1epoch')
  if not state[1] or token < tonumber(state[2]) or token > tonumber(state[1]) then return {'lost'} end
  for _, lease in ipairs(leases) do
    if lease[TOKEN] > token then return {'taken', lease[HOLDER], lease[TOKEN]} end
  end
  return {'stale'}
end

local function place_of(name, seq, session)
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', queue_of(name), seq, seq)) do
    local w = waiter(request)
    if w and w[SESSION] == session then return request, w end
  end
end

local function take(name, token, reason)
  local leases, lapsed = read(redis.call('HGET', P, name))
  local i, lease = find(leases, token)
  if not i then return nil end
  table.remove(leases, i)
  count(lease[SESSION], -1)
  redis.call('SET', P .. ':gone:' .. int(token), reason, 'PX', REASONS)
  pump(name, leases, lapsed, true)
  return lease
end
"""
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name by which the server knows it: the SHA-1 of its text."""

    body: str
    quick: str = ""
    """What comes before all that most calls need not."""
    head: str = ""
    """What comes before that: the tests put the clock back here."""
    text: bytes = field(init=False, repr=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        """Put the common part before it."""
        text = (_HEAD + self.head + self.quick + _COMMON + self.body).encode()
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "sha", sha1(text, usedforsecurity=False).hexdigest())
