-- Reads of ACCOUNTS accounts in turn, each request made once; the first pass fills the cache.
local requests, place, threads = {}, 0, {}

function setup(thread)
  thread:set("first", #threads * 997)
  table.insert(threads, thread)
end

function init(arguments)
  local count = tonumber(os.getenv("ACCOUNTS"))
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
  for number = 1, count do
    requests[number] = wrk.format("GET", string.format(os.getenv("READ_PATH"), number))
  end
  place = first
end

function request()
  place = place + 1
  return requests[place % #requests + 1]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d, "refused": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
