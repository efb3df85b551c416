-- Sends the same request again and again, with each key in turn; after `seconds` it sends none,
-- so that wrk's end cuts no call that is charged. Tells what came back as JSON.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long nanos; } moment;
int clock_gettime(int clock, moment *now);
]]
local threads = {}
local now_ = ffi.new("moment")

local function now()
  ffi.C.clock_gettime(1, now_)
  return tonumber(now_.seconds) + tonumber(now_.nanos) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

-- seconds, connections, a file with one set of headers per key ("name: text|name: text"), body
function init(args)
  seconds, connections = tonumber(args[1]), tonumber(args[2])
  requests, next_ = {}, 0
  for line in io.lines(args[3]) do
    local headers = { ["content-type"] = "application/json" }
    for name, text in line:gmatch("([^:|]+): ([^|]+)") do headers[name] = text end
    table.insert(requests, wrk.format("POST", nil, headers, args[4]))
  end
  began, finished = nil, 0
  answers, refused, unlimited, first = 0, 0, 0, ""
  sent, latencies = 0, {}
end

-- Milliseconds to wait before the next request.
function delay()
  return began and now() - began > seconds and 600000 or 0
end

function request()
  sent = now()
  began = began or sent
  next_ = next_ % #requests + 1
  return requests[next_]
end

function response(status, headers, body)
  local at = now()
  if status == 200 then
    answers, finished = answers + 1, at
    if connections == 1 then table.insert(latencies, at - sent) end
  else
    refused = refused + 1
    if first == "" then first = body end
  end
  if not headers["x-ratelimit-limit-requests"] then unlimited = unlimited + 1 end
end

local function at(sorted, share)
  return (sorted[math.max(1, math.ceil(#sorted * share))] or 0) * 1000
end

function done()
  local thread = threads[1]
  local sorted = thread:get("latencies")
  table.sort(sorted)
  local elapsed = thread:get("finished") - (thread:get("began") or 0)
  if thread:get("refused") > 0 then io.stderr:write(thread:get("first"), "\n") end
  io.write(string.format(
    '{"answers": %d, "refused": %d, "without_limit_headers": %d, "per_second": %.1f, ' ..
    '"p50_ms": %.3f, "p99_ms": %.3f}\n',
    thread:get("answers"), thread:get("refused"), thread:get("unlimited"),
    thread:get("answers") / math.max(elapsed, 1e-3), at(sorted, 0.5), at(sorted, 0.99)))
end
