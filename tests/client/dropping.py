"""A proxy that brings each request to the server, and drops its first answer to a create of a batch.

What a client sees is a connection that closes; what the server sees is a request that it has answered.
"""

import contextlib
import http.client
import http.server
import threading

import harness

CREATE = ("POST", "/v1/batches")
# Meant for one connection, not for what is passed on.
HOP = {"connection", "host", "transfer-encoding", "keep-alive"}


@contextlib.contextmanager
def dropping(address):
    """The base URL of a proxy before the server at `address`, and the list of the answers that it dropped."""
    dropped = []
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", harness.free_port()), handler(address, dropped))
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}/v1", dropped
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def handler(address, dropped):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            status, headers, body = ask(address, self)
            if (self.command, self.path) == CREATE and self.headers["x-stainless-retry-count"] == "0":
                dropped.append(body)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, *_):
            """Nobody reads it."""

    return Handler


def ask(address, request):
    body = request.rfile.read(int(request.headers.get("content-length", 0)))
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as server:
        server.request(request.command, request.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
    return answer.status, [pair for pair in answer.getheaders() if pair[0].lower() not in HOP], content
