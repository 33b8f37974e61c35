-- For `wrk`: the bodies of the files named behind `--`, one request after the other, formatted beforehand.

local requests, next_one = {}, 0

function init(args)
    wrk.method = "POST"
    wrk.headers["content-type"] = "application/json"
    for line in io.lines(args[1]) do
        local body = line:match('"body": (.*)}$')
        requests[#requests + 1] = wrk.format(nil, nil, nil, body)
    end
end

function request()
    next_one = next_one % #requests + 1
    return requests[next_one]
end
