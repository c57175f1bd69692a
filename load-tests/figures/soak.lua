-- The steady load of `make soak`: RATE requests a second over ACCOUNTS accounts, of which some are new in
-- each run, with a few requests that must be refused.
local rate, connections = tonumber(os.getenv("RATE")), tonumber(os.getenv("CONNECTIONS"))
local first, accounts = tonumber(os.getenv("FIRST")), tonumber(os.getenv("ACCOUNTS"))
local bearer = { Authorization = "Bearer " .. os.getenv("TOKEN") }
local forged = { Authorization = "Bearer " .. os.getenv("TOKEN"):sub(1, -9) .. "AAAAAAAA" }
local paths = { "balance", "balance", "balance", "balance", "balance", "summary", "summary", "transactions" }
local statuses, threads = { 200, 401, 404 }, {}
for _, status in ipairs(statuses) do _G["status_" .. status] = 0 end
status_other = 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  math.randomseed(first)
end

function delay()
  return math.random(0, 2 * connections * 1000 / rate)
end

function request()
  local account = "/accounts/account-" .. (first + math.random(accounts)) .. "/"
  local odd = math.random(100)
  if odd == 1 then return wrk.format("GET", account .. "nothing", bearer) end
  if odd == 2 then return wrk.format("GET", account .. "balance", forged) end
  return wrk.format("GET", account .. paths[math.random(#paths)], bearer)
end

function response(status)
  local name = "status_" .. status
  if not _G[name] then name = "status_other" end
  _G[name] = _G[name] + 1
end

function done(summary, latency, _)
  local errors, counts = summary.errors, {}
  for _, name in ipairs({ "200", "401", "404", "other" }) do
    local sum = 0
    for _, thread in ipairs(threads) do sum = sum + thread:get("status_" .. name) end
    table.insert(counts, string.format('"%s": %d', name, sum))
  end
  print(string.format('RESULT {%s, "broken": %d, "p99": %d}', table.concat(counts, ", "),
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(99)))
end
