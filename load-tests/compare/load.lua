-- Load of `make compare`, for wrk. LOAD says what is asked: `same` (one request, made once by wrk itself),
-- `tokens` (each with the next line of the file LINES as its token) or `routes` (each for the next line as
-- its path). FIRST and COUNT choose the lines.
local load = os.getenv("LOAD") or "same"
local lines, place, threads = {}, 0, {}

-- Whether the lines have begun again: a token was not new then.
again = 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  if load == "same" then return end
  local first, count, number = tonumber(os.getenv("FIRST")), tonumber(os.getenv("COUNT")), 0
  for line in io.lines(os.getenv("LINES")) do
    number = number + 1
    if number >= first + count then break end
    if number >= first then
      if load == "routes" then
        lines[#lines + 1] = wrk.format("GET", line)
      else
        lines[#lines + 1] = line
      end
    end
  end
end

if load ~= "same" then
  local head, tail
  function request()
    place = place + 1
    if place > #lines then
      place, again = 1, 1
    end
    if load == "routes" then return lines[place] end
    if not head then
      head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: Bearer "
      tail = "\r\n\r\n"
    end
    return head .. lines[place] .. tail
  end
end

function done(summary, latency, requests)
  local errors, repeated = summary.errors, 0
  for _, thread in ipairs(threads) do repeated = repeated + (thread:get("again") or 0) end
  print(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "again": %d, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), repeated,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
