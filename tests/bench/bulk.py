"""Bytes a second: a file comes in, is checked, goes out."""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import time

import harness

from bench.api import Api, downloaded_bytes
from bench.figures import Bar, Figure

LINE_BYTES = 4_000


@dataclasses.dataclass
class Moved:
    bytes: int
    seconds: float

    @property
    def mb_per_second(self):
        return self.bytes / 1e6 / self.seconds


def timed(length, act):
    begun = time.perf_counter()
    act()
    return Moved(length, time.perf_counter() - begun)


def speeds(*sides):
    return [[moved.mb_per_second for moved in side] for side in sides]


def upload(world):
    lines = world.size(50_000, 500)
    source = world.input(lines, LINE_BYTES)
    length = source.stat().st_size
    with contextlib.ExitStack() as stack:
        folder, upstream = stack.enter_context(world.passing_folder("upload")), stack.enter_context(world.upstream())
        server = stack.enter_context(world.server(folder / "data", upstream))
        # Each a new file, as each upload is: memory that has just held one takes the next in a third of the time.
        copy = (folder / f"copy{number}" for number in itertools.count())
        ours, copies = world.pairs(
            lambda: timed(length, lambda: uploaded(server.address, source)), lambda: timed(length, lambda: copied(source, next(copy)))
        )
    what = f"upload of {length / 1e6:,.0f} MB, {lines:,} lines"
    return [Figure("5", what, "MB/s", *speeds(ours, copies), "`cp` and fsync", Bar(0.4, 0.7))]


def uploaded(address, source):
    with Api(address) as api:
        api.upload(source)


def copied(source, target):
    subprocess.run(["cp", source, target], check=True)
    with open(target, "rb") as copy:
        os.fsync(copy.fileno())


def check(world):
    lines = world.size(250_000, 1_000)
    source = world.input(lines, LINE_BYTES)
    length = source.stat().st_size
    ours, loops = world.pairs(
        lambda: timed(length, lambda: checked(source)), lambda: timed(length, lambda: world.yardstick("parse", source))
    )
    counts = world.times(lambda: timed(length, lambda: subprocess.run(["wc", "-l", source], check=True, capture_output=True)), lambda moved: moved.seconds)
    what = f"`check` of {length / 1e6:,.0f} MB, {lines:,} lines"
    return [
        Figure("6", what, "MB/s", *speeds(ours, loops), "plain serde_json loop", Bar(1.0, 1.5)),
        Figure("6", "the same beside `wc -l`", "MB/s", *speeds(ours, counts), "`wc -l`"),
    ]


def checked(source):
    done = harness.ditto("check", source)
    if done.returncode != 0:
        raise RuntimeError(f"`check` found faults in a good file: {done.stdout}")


def download(world):
    """Of an output whose answers are so long that it has 200 MB."""
    lines, answer = world.size(50_000, 500), LINE_BYTES
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(world.passing_folder("download"))
        upstream = stack.enter_context(harness.sim("--answer-bytes", str(answer)))
        server = stack.enter_context(world.server(folder / "data", upstream))
        output, length = answered(server.address, world.input(lines))
        plain = folder / "plain"
        save(server.address, output, plain)
        address = stack.enter_context(plainly_served(world, plain))
        ours, others = world.pairs(
            lambda: timed(length, lambda: fetched(server.address, f"/v1/files/{output}/content", length)),
            lambda: timed(length, lambda: fetched(address, "/", length)),
        )
    what = f"download of {length / 1e6:,.0f} MB of output"
    return [Figure("7", what, "MB/s", *speeds(ours, others), "plain file over the same stack", Bar(0.8, 0.95))]


def answered(address, source):
    """The output file of a batch of this file, and its length."""
    with Api(address) as api:
        batch = api.until_completed(api.create(api.upload(source))["id"], 0.05, 600)
        return batch["output_file_id"], api.get(f"/v1/files/{batch['output_file_id']}")["bytes"]


def save(address, output, target):
    with Api(address) as api, open(target, "wb") as file:
        api.connection.request("GET", f"/v1/files/{output}/content")
        shutil.copyfileobj(api.connection.getresponse(), file, 1 << 20)


def fetched(address, path, length):
    got = downloaded_bytes(address, path)
    if got != length:
        raise RuntimeError(f"{path}: {got} bytes came of {length}")


@contextlib.contextmanager
def plainly_served(world, path):
    command = world.command_of_yardstick("serve", path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())["address"]
        process.communicate("")
