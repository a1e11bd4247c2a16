-- What wrk sends and tells: a GET, or a POST of 1 KiB when the first argument says so; one line of figures at the end.
function init(args)
   if args[1] == "POST" then
      wrk.method = "POST"
      wrk.headers["Content-Type"] = "application/json"
      wrk.body = string.rep("x", 1024)
   end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format("FIGURES %d %d %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), e.connect + e.timeout, e.read, e.write,
      e.status))
end
