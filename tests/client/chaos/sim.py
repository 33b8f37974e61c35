"""The upstream: a process of its own that outlives every kill and counts who asked what how often."""

import http.client
import json
import threading
import time

import harness

# Of 16-bit counts and more: what the simulator tells of each line.
ASKED, ANSWERED, GIVEN_UP = "asked", "answered", "given_up"


class Sim:
    def __init__(self, service):
        self.service = service
        self.base_url = service.base_url
        self.local = threading.local()

    def stats(self):
        return self.call("GET", "/sim/stats")

    def lines(self, prefix, total):
        """Three lists of counts for the lines 1 to `total`; place 0 is for no line."""
        keys = "".join(f"{prefix}{number}\n" for number in range(total + 1))
        return self.call("POST", "/sim/asked", keys)

    def quiet(self):
        """Waits until nothing of a dead caller is under way any more, and returns the counts."""
        def settled():
            before = self.stats()
            time.sleep(0.01)
            after = self.stats()
            return after if after["in_flight"] == 0 and after["requests"] == before["requests"] else None

        return harness.until("the upstream is quiet", settled, seconds=20)

    def call(self, method, path, body=None):
        """One connection a thread, kept open: a poll of every millisecond must not cost a socket."""
        connection = getattr(self.local, "connection", None)
        if connection is None:
            host, port = self.service.address.split(":")
            connection = self.local.connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request(method, path, body)
        return json.loads(connection.getresponse().read())
