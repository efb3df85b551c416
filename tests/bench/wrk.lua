-- Sends the same request again and again; tells what came back as one line of JSON.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  wrk.method = "POST"
  wrk.headers["authorization"] = "Bearer " .. args[1]
  wrk.headers["content-type"] = "application/json"
  wrk.body = args[2]
  answers, refused, unlimited = 0, 0, 0
end

function response(status, headers, body)
  if status == 200 then answers = answers + 1 else refused = refused + 1 end
  if not headers["x-ratelimit-limit-requests"] then unlimited = unlimited + 1 end
end

function done(summary, latency, requests)
  local answers, refused, unlimited = 0, 0, 0
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answers")
    refused = refused + thread:get("refused")
    unlimited = unlimited + thread:get("unlimited")
  end
  io.write(string.format(
    '{"answers": %d, "refused": %d, "without_limit_headers": %d, "per_second": %.1f, ' ..
    '"p50_ms": %.2f, "p99_ms": %.2f}\n',
    answers, refused, unlimited, answers / (summary.duration / 1e6),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
