"""What others do with the same lines, each beside the same bare loop. What is not to be had says why."""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import time

import harness

from bench.figures import Figure
from bench.job import Job, bare
from bench.world import PERMITS, told

SOURCE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = harness.ROOT / "tests/client/requirements.txt"
OPENAI_LINES = 3_000
FUSILLADE_LINES = 10_000


def peers(world):
    return [*official_client(world), *jq(world), *fusillade(world)]


def official_client(world):
    what = f"official Python client, a loop with {PERMITS} at once"
    try:
        python = python_with_openai(world)
    except (subprocess.CalledProcessError, OSError) as error:
        return [Figure("P", what, note=f"not to be had: {error}")]
    lines = world.size(OPENAI_LINES, 200)

    def asked():
        with world.upstream() as upstream:
            command = [python, SOURCE / "official_client.py", upstream.base_url, world.input(lines), str(PERMITS)]
            return Job(**told(command))

    return [beside_the_bare_loop(world, what, asked, lines)]


def python_with_openai(world):
    """The tests' own where it is there, else a new one."""
    for venv in (harness.ROOT / "target/venv", harness.ROOT / "target/venv-bench"):
        python = venv / "bin/python"
        if python.exists() and subprocess.run([python, "-c", "import openai"], capture_output=True).returncode == 0:
            return python
    if world.short:
        raise OSError("the tests' packages are not installed, and the short form installs nothing")
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True, stdout=subprocess.DEVNULL)
    wanted = next(line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("openai=="))
    subprocess.run([venv / "bin/pip", "install", "--quiet", wanted], check=True)
    return python


def beside_the_bare_loop(world, what, measure, lines):
    jobs, loops = world.pairs(measure, lambda: bare(world, world.size(100_000, lines)))
    speeds = [[job.lines_per_second for job in side] for side in (jobs, loops)]
    return Figure("P", what, "lines/s", *speeds, "bare loop", note=f"{lines:,} lines")


def jq(world):
    what = "`jq -c .custom_id`, which only parses"
    if not shutil.which("jq"):
        return [Figure("P", what, note="not to be had: `apt-get install jq`")]
    source = world.input(world.size(20_000, 500), 4_000)
    megabytes = source.stat().st_size / 1e6

    def speed(command):
        def measure():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - begun
            return Job(0, seconds, 0)

        return measure

    parsed, looped = world.pairs(speed(["jq", "-c", ".custom_id", source]), speed(world.command_of_yardstick("parse", source)))
    speeds = [[megabytes / job.seconds for job in side] for side in (parsed, looped)]
    return [Figure("P", what, "MB/s", *speeds, "plain serde_json loop", note=f"{megabytes:,.0f} MB")]


def fusillade(world):
    """A program of its own around the crate, with a lock file of its own, and a PostgreSQL that is started for it."""
    what = f"fusillade with PostgreSQL, {PERMITS} at once"
    folder = SOURCE / "fusillade"
    if world.short:
        return [Figure("P", what, note="not built in the short form")]
    try:
        program = build_fusillade(folder, world)
        with postgres(world) as database:
            return [beside_the_bare_loop(world, what, lambda: by_fusillade(world, program, database), FUSILLADE_LINES)]
    except (subprocess.CalledProcessError, OSError) as error:
        return [Figure("P", what, note=f"not to be had: {error}")]


def build_fusillade(folder, world):
    target = world.target / "bench-fusillade"
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", folder / "Cargo.toml", "--target-dir", target]
    subprocess.run(command, check=True)
    return target / "release/fusillade-peer"


def by_fusillade(world, program, database):
    with world.upstream() as upstream:
        origin = f"http://{upstream.address}"
        return Job(**told([program, database, origin, world.input(FUSILLADE_LINES), str(PERMITS)]))


@contextlib.contextmanager
def postgres(world):
    """A fresh one with its own settings as shipped; it will not run as root, so root starts it as `postgres`."""
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise OSError("PostgreSQL is not here: `apt-get install postgresql`")
    as_user = ["runuser", "-u", "postgres", "--"] if is_root() else []
    folder = pathlib.Path(subprocess.run([*as_user, "mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    port = harness.free_port()
    run = lambda *command: subprocess.run([*as_user, *command], check=True, capture_output=True, cwd="/")
    run(programs[-1] / "initdb", "-D", folder / "data", "-U", "bench", "-A", "trust")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    with open(world.folder / "postgres.log", "w") as log:
        subprocess.run(
            [*as_user, programs[-1] / "pg_ctl", "-D", folder / "data", "-w", "-o", options, "start"],
            check=True, stdout=log, stderr=log, cwd="/",
        )
    try:
        yield f"postgres://bench@127.0.0.1:{port}/postgres"
    finally:
        run(programs[-1] / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        run("rm", "-rf", folder)


def is_root():
    return pathlib.Path("/proc/self").stat().st_uid == 0
