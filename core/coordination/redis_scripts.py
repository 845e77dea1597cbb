"""The scripts that run within the Redis server: each sees and changes the leases at one moment, alone.

Below each stand its arguments, and what it answers. See `redis_lua` for what they keep where.
"""

from __future__ import annotations

from .redis_lua import Script

ACQUIRE = Script(
    quick=r"""
local name, holder, id, boot, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local slots, permits, ttl = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local request, floor, silence = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local state = redis.call('HMGET', P, '\1token', name, '\2' .. session)
local last = tonumber(state[1] or 0)
if state[1] and not state[2] and floor <= last and redis.call('EXISTS', P .. ':queue:' .. name) == 0 then
  local token = math.max(last + 1, now)
  local lease = {token, holder, id, boot, session, slots, permits, now, now + ttl, request, ttl}
  redis.call('HSET', P, '\1token', string.format('%.0f', token), name, cmsgpack.pack({lease}),
    '\2' .. session, (state[3] or 0) + 1)
  return {'granted', token, ttl}
end
""",
    body=r"""
if not state[1] then
  last = math.max(floor, now)
  redis.call('HSET', P, '\1token', int(last), '\1epoch', int(last))
elseif floor > last then
  last = floor
  redis.call('HSET', P, '\1token', int(last))
end
local leases, lapsed = read(state[2])
local granted = grant_of(leases, request)
if granted then return granted end
local queue, first, mine = queue_of(name), false, false
if redis.call('EXISTS', queue) == 1 then
  mine = waiter(request)
  if mine then
    mine[EXPIRES] = now + silence
    redis.call('HSET', P, '\3' .. request, cmsgpack.pack(mine))
  end
  first = pump(name, leases, lapsed)
  granted = grant_of(leases, request)
  if granted then return granted end
  leases, lapsed = read(redis.call('HGET', P, name))
end
local other = first or leases[1]
if other and other[PERMITS] ~= permits then return {'mismatch', other[PERMITS], other[HOLDER]} end
if not first and used(leases) + slots <= permits then
  local token = math.max(tonumber(redis.call('HGET', P, '\1token')) + 1, now)
  leases[#leases + 1] = {token, holder, id, boot, session, slots, permits, now, now + ttl, request, ttl}
  forget(lapsed)
  redis.call('HSET', P, '\1token', int(token), name, cmsgpack.pack(leases))
  count(session, 1)
  if mine then drop(name, request) end
  return {'granted', token, ttl}
end
if silence == 0 then
  local holding = leases[1]
  if used(leases) + slots <= permits then
    return watched({'busy', 0, first[HOLDER]}, leases, boot)
  end
  return watched({'busy', holding[TOKEN], holding[HOLDER]}, leases, boot)
end
if not mine then
  local verdict = redis.call('GET', P .. ':verdict:' .. request)
  if verdict then return {'refused', verdict} end
  local seq = math.max(tonumber(redis.call('HGET', P, '\1seq') or 0) + 1, now)
  mine = {name, holder, id, boot, session, slots, permits, now, now + silence, seq, ttl}
  redis.call('HSET', P, '\1seq', int(seq), '\3' .. request, cmsgpack.pack(mine))
  redis.call('ZADD', queue, int(seq), request)
end
return waiting(name, request, mine, leases)
""",
)
"""name, holder, id, boot, session, slots, permits, ttl, request, floor, silence (0: does not wait)

granted TOKEN LEFT | mismatch PERMITS HOLDER | busy TOKEN HOLDER (TOKEN ID)... | waiting NOW LAPSE HOLDS (TOKEN ID)...
"""

LOOK = Script(r"""
local name, request, silence = ARGV[1], ARGV[2], tonumber(ARGV[3])
local leases, lapsed = read(redis.call('HGET', P, name))
local granted = grant_of(leases, request)
if granted then return granted end
local w = waiter(request)
if not w then
  local verdict = redis.call('GET', P .. ':verdict:' .. request)
  return verdict and {'refused', verdict} or {'unknown'}
end
w[EXPIRES] = now + silence
redis.call('HSET', P, '\3' .. request, cmsgpack.pack(w))
redis.call('ZADD', queue_of(name), 'NX', int(w[SEQ]), request)
pump(name, leases, lapsed)
granted = grant_of(leases, request)
if granted then return granted end
leases = read(redis.call('HGET', P, name))
return waiting(name, request, w, leases)
""")
"""name, request, silence: the waiter lives. granted TOKEN LEFT | refused WHY | unknown | waiting NOW LAPSE HOLDS ..."""

LEAVE = Script(r"""
local name, request = ARGV[1], ARGV[2]
local leases, lapsed = read(redis.call('HGET', P, name))
local granted = grant_of(leases, request)
if granted then return granted end
local verdict = redis.call('GET', P .. ':verdict:' .. request)
if verdict then return {'refused', verdict} end
drop(name, request)
local first = pump(name, leases, lapsed)
leases = read(redis.call('HGET', P, name))
if leases[1] then return {'left', leases[1][TOKEN], leases[1][HOLDER]} end
return {'left', 0, first and first[HOLDER] or ''}
""")
"""name, request: it waits no longer. granted TOKEN LEFT | refused WHY | left TOKEN HOLDER"""

RENEW = Script(r"""
local name, token, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local leases, lapsed = read(redis.call('HGET', P, name))
local _, lease = find(leases, token)
if lease then
  lease[EXPIRES], lease[TTL] = now + ttl, ttl
  save(name, joined(leases, lapsed))
  return {'held'}
end
if find(lapsed, token) then return {'lapsed'} end
return why(leases, token)
""")
"""name, token, ttl. held | lapsed | gone WHY | lost | taken HOLDER TOKEN | stale"""

RELEASE = Script(
    quick=r"""
local name, token, again = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local blob = redis.call('HGET', P, name)
if blob and redis.call('EXISTS', P .. ':queue:' .. name) == 0 then
  local held = cmsgpack.unpack(blob)
  local lease = held[1]
  if #held == 1 and lease[TOKEN] == token and lease[EXPIRES] > now then
    local session = '\2' .. lease[SESSION]
    if redis.call('HGET', P, session) == '1' then
      redis.call('HDEL', P, name, session)
    else
      redis.call('HDEL', P, name)
      redis.call('HINCRBY', P, session, -1)
    end
    redis.call('SET', P .. ':freed:' .. ARGV[2], '1', 'PX', 10000)
    return {'held'}
  end
end
""",
    body=r"""
local leases, lapsed = read(blob)
local i, lease = find(leases, token)
if i then
  table.remove(leases, i)
  count(lease[SESSION], -1)
  pump(name, leases, lapsed, true)
  redis.call('SET', P .. ':freed:' .. ARGV[2], '1', 'PX', 10000)
  return {'held'}
end
if again == '1' and redis.call('EXISTS', P .. ':freed:' .. ARGV[2]) == 1 then return {'held'} end
if find(lapsed, token) then return {'lapsed'} end
return why(leases, token)
""",
)
"""name, token, whether it is sent again. held | lapsed | gone WHY | lost | taken HOLDER TOKEN | stale"""

FIND = Script(r"""
local name, token = ARGV[1], tonumber(ARGV[2])
local leases, lapsed = read(redis.call('HGET', P, name))
local _, lease = find(leases, token)
if lease then
  return {'held', lease[HOLDER], lease[TTL], lease[EXPIRES] - now, lease[SLOTS], lease[BOOT], lease[ID]}
end
if find(lapsed, token) then return {'lapsed'} end
return why(leases, token)
""")
"""name, token. held HOLDER TTL LEFT SLOTS BOOT ID | lapsed | gone WHY | lost | taken HOLDER TOKEN | stale"""

TAKE = Script(r"""
local name, token, id, reason, again = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local leases = read(redis.call('HGET', P, name))
local _, lease = find(leases, token)
if not lease then return again == '1' and redis.call('GET', P .. ':gone:' .. int(token)) == reason and 1 or 0 end
if id ~= '' and lease[ID] ~= id then return 0 end
take(name, token, reason)
return 1
""")
"""name, token, id of the holder (empty: any), reason, whether it is sent again: take it away. 1 | 0: it is not held"""

FORGET = Script(r"""
local dead = {}
for _, id in ipairs(ARGV) do dead[id] = true end
local all = redis.call('HGETALL', P)
local names, requests = {}, {}
for i = 1, #all, 2 do
  local mark = string.byte(all[i])
  if mark == 3 then
    local w = cmsgpack.unpack(all[i + 1])
    if dead[w[ID]] then
      drop(w[NAME], string.sub(all[i], 2))
      names[w[NAME]] = true
    end
  elseif mark > 3 then
    local leases, lapsed = read(all[i + 1])
    local kept = {}
    for _, lease in ipairs(leases) do
      if dead[lease[ID]] then
        count(lease[SESSION], -1)
        redis.call('SET', P .. ':gone:' .. int(lease[TOKEN]), 'is over: its holder has ended', 'PX', REASONS)
      else
        kept[#kept + 1] = lease
      end
    end
    if #kept < #leases then
      save(all[i], joined(kept, lapsed))
      names[all[i]] = true
    end
  end
end
for name in pairs(names) do
  local leases, lapsed = read(redis.call('HGET', P, name))
  pump(name, leases, lapsed, true)
end
return 1
""")
"""ids of holders that are no more: all that they hold and wait for"""

LOG = Script(r"""
-- One text each, since a client reads many small ones slowly.
local function row(record, behind)
  return table.concat({
    int(record[TOKEN]), record[HOLDER], record[ID], record[BOOT], record[SESSION], int(record[SLOTS]),
    int(record[PERMITS]), int(record[SINCE]), int(record[EXPIRES]), behind
  }, '\31')
end
local all = redis.call('HGETALL', P)
local leases, waiters, names, sessions = {}, {}, {}, {}
for i = 1, #all, 2 do
  if string.byte(all[i]) == 3 then
    local w = cmsgpack.unpack(all[i + 1])
    local name = w[NAME]
    if w[EXPIRES] + KEEP < now then
      drop(name, string.sub(all[i], 2))
    elseif w[EXPIRES] > now then
      names[name], sessions[w[SESSION]], w[TOKEN] = true, true, w[SEQ]
      waiters[#waiters + 1] = row(w, name)
    end
  end
end
for i = 1, #all, 2 do
  local name = all[i]
  if string.byte(name) > 3 then
    local living, lapsed = read(all[i + 1])
    for _, lease in ipairs(living) do
      if ARGV[1] == 'all' or names[name] or sessions[lease[SESSION]] then leases[#leases + 1] = row(lease, name) end
    end
    if #living == 0 and lapsed[1][EXPIRES] + REASONS * 1000 < now then
      forget(lapsed)
      redis.call('HDEL', P, name)
    end
  end
end
return {now, leases, waiters}
""")
"""all | entangled (of the leases only those that are awaited, or whose sessions wait)

NOW, the leases, the waiters; each the fields of a lease up to EXPIRES, of a waiter with SEQ first, and the name
"""

PASS = Script(r"""
local name, seq, session = ARGV[1], ARGV[2], ARGV[3]
local leases, lapsed = read(redis.call('HGET', P, name))
local request, w = place_of(name, seq, session)
if not w or w[EXPIRES] <= now or used(leases) + w[SLOTS] > w[PERMITS] then return 0 end
if redis.call('HEXISTS', P, '\2' .. session) == 0 then return 0 end
local token = next_token()
redis.call('HSET', P, '\1token', int(token))
serve(leases, request, w, token)
forget(lapsed)
save(name, leases)
return 1
""")
"""name, seq, session: serve it before those ahead, if it still waits, holds something, and there is room. 1 | 0"""

REFUSE = Script(r"""
local name, seq, session, reason, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local request, told = place_of(name, seq, session), P .. ':refused:' .. seq
if not request then return again == '1' and redis.call('GET', told) == reason and 1 or 0 end
drop(name, request)
redis.call('SET', told, reason, 'PX', 60000)
redis.call('SET', P .. ':verdict:' .. request, reason, 'PX', 60000)
redis.call('DEL', P .. ':wake:' .. request)
wake(request, 'refused')
pump(name, read(redis.call('HGET', P, name)))
return 1
""")
"""name, seq, session, reason, whether it is sent again: time that waiter out. 1 | 0: it does not wait"""
