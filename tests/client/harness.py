"""Starts the real binary for the Python tests, and stops what it started, by its pid.

From a shell it runs one command beside a fresh server or simulator, which may be given flags:

    python tests/client/harness.py serve -- cargo run -p ditto-llm --example batches
    python tests/client/harness.py serve --api-key-file keys -- node --test

The command finds the address in `OPENAI_COMPAT_BASE_URL`.
"""

import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Below 32768, where the kernel begins to hand out ports to outgoing connections: one of those
# could take the port between our choice and the server's bind.
PORTS = range(20000, 32000)

START_SECONDS = 20
STOP_SECONDS = 20
COMMAND_SECONDS = 120


def binary():
    """The `ditto-batch` under test: $DITTO_BATCH, else the newest of the release and debug builds."""
    if chosen := os.environ.get("DITTO_BATCH"):
        return pathlib.Path(chosen)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for kind in ("release", "debug") if (path := target / kind / "ditto-batch").exists()]
    if not built:
        raise SystemExit("ditto-batch is not built\nhint: run `cargo build --release`")
    return max(built, key=lambda path: path.stat().st_mtime)


def ditto(*args, cwd=None, env=None, stdin=None, timeout=COMMAND_SECONDS):
    """One command to its end; exit code, stdout and stderr as text."""
    command = [str(binary()), *map(str, args)]
    # `input` opens a pipe, and no input means none at all: a command must not wait for a terminal.
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, **source)


def samples(path, *args):
    """Writes `scripts/samples ARGS` to `path`; without apt's lists, synthetic rows instead of Debian's."""
    with open(path, "wb") as out:
        done = subprocess.run([ROOT / "scripts/samples", *map(str, args)], stdout=out)
    if done.returncode != 0 and args[0] == "debian":
        print("no package lists here: synthetic rows instead", file=sys.stderr)
        return samples(path, "synthetic", *args[1:])
    assert done.returncode == 0, f"scripts/samples {args} failed"
    return path


def json_lines(path):
    """The objects of a JSONL file."""
    return parsed_lines(pathlib.Path(path).read_bytes())


def parsed_lines(content):
    """The objects of JSONL, split at byte 0x0A and nowhere else, as the format says."""
    return [json.loads(line) for line in content.split(b"\n") if line]


def request(custom_id, text):
    """One line of an input file."""
    body = {"model": "demo-small", "messages": [{"role": "user", "content": text}]}
    row = {"custom_id": f"row-{custom_id}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(row).encode() + b"\n"


def until(what, ready, seconds=60, pause=0.02):
    """Asks `ready` again and again until it answers something true, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ready():
            return answer
        time.sleep(pause)
    raise TimeoutError(f"{what}: not within {seconds} s")


def peak_memory(pid):
    """Bytes of memory that the process held at its worst (VmHWM); 0 once it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    # A process that ended but was not waited for has no memory lines left.
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


class Service:
    """A long-running command of the binary that listens on loopback."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.base_url = f"http://{self.address}/v1"
        self.log = log

    @property
    def pid(self):
        return self.process.pid

    def get(self, path):
        """GET, parsed as JSON where it is JSON. An error status is an exception."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
            text = answer.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text

    def answers(self, path):
        try:
            self.get(path)
        except (urllib.error.URLError, OSError):
            return False
        return True

    def said(self):
        """All that it has written so far, the log included."""
        # At a place of its own: the process writes where the shared one is.
        length = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), length, 0).decode(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


@contextlib.contextmanager
def serve(data, *flags):
    """`ditto-batch serve` on a free port, with the scripted upstream unless the flags name another."""
    upstream = [] if "--upstream" in flags else ["--upstream", "sim"]
    with service(["serve", "--data", str(data), *upstream, *flags], "/readyz") as started:
        yield started


@contextlib.contextmanager
def sim(*flags):
    """`ditto-batch sim` on a free port."""
    with service(["sim", *flags], "/sim/stats") as started:
        yield started


@contextlib.contextmanager
def service(command, ready_path, port=None):
    started = start(command, ready_path, port=port)
    try:
        yield started
    finally:
        started.stop()
        started.log.close()


@contextlib.contextmanager
def spawned(*command):
    """The service on a free port, before it is ready."""
    started = spawn(command)
    try:
        yield started
    finally:
        started.stop()
        started.log.close()


def start(command, ready_path, tries=5, port=None):
    """Binding may lose a race for the port: then the process ends at once, and another port is tried."""
    for _ in range(tries):
        candidate = spawn(command, port)
        process = candidate.process
        try:
            until("ready", lambda: process.poll() is not None or candidate.answers(ready_path), START_SECONDS)
        except TimeoutError:
            candidate.stop()
            break
        if process.poll() is None:
            return candidate
    raise RuntimeError(f"{' '.join(process.args)} did not get ready:\n{candidate.said()[-4000:]}")


def spawn(command, port=None):
    port = port or free_port()
    log = tempfile.TemporaryFile("w+")
    line = [str(binary()), command[0], "--listen", f"127.0.0.1:{port}", *map(str, command[1:])]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    return Service(process, port, log)


def free_port():
    for _ in range(100):
        port = random.choice(PORTS)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no free port in {PORTS}")


def main():
    assert "--" in sys.argv, __doc__
    dashes = sys.argv.index("--")
    (kind, *flags), command = sys.argv[1:dashes], sys.argv[dashes + 1 :]
    assert kind in ("serve", "sim"), __doc__
    with tempfile.TemporaryDirectory() as data:
        with serve(f"{data}/data", *flags) if kind == "serve" else sim(*flags) as started:
            env = os.environ | {"OPENAI_COMPAT_BASE_URL": started.base_url, "OPENAI_COMPAT_API_KEY": "unused"}
            return subprocess.run(command, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
