"""One file through batches of the simulated provider: the job, and what the provider has billed for it."""

import os
import pathlib
import re
import subprocess
from dataclasses import dataclass

import harness

# What the provider is paid under.
KEY = "SIMULATED_PROVIDER_KEY"

# The simulator is quick, so nothing that it does late is late by more than a moment.
QUICK = {"poll_seconds": 1, "retry_seconds": 1, "full_seconds": 2, "appears_seconds": 2, "grace_seconds": 6}

# As long as three looks: each stage of a batch is seen.
PACE = "200ms/500ms/200ms"

# A job that waits for more than this waits for ever.
SECONDS = 240


@dataclass
class Job:
    """A file of so many rows in a folder of its own, and the profile of the provider that it goes to."""

    folder: pathlib.Path
    rows: int
    profile: dict
    # Rows that are there already, not to be written again.
    like: pathlib.Path | None = None
    # Of the profile.
    name: str = "custom"

    def __post_init__(self):
        self.folder.mkdir(parents=True)
        self.input = self.folder / "job.jsonl"
        if self.like:
            os.link(self.like, self.input)
        else:
            harness.samples(self.input, "synthetic", "-n", self.rows)
        self.output, self.errors = self.folder / "job.output.jsonl", self.folder / "job.errors.jsonl"
        self.profiles = self.folder / "profiles.toml"
        settings = QUICK | self.profile
        self.profiles.write_text(f"[{self.name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))

    def command(self, provider, *flags):
        """`run` as a user types it."""
        to = ("--provider", self.name, "--base-url", provider.base_url, "--api-key-env", KEY)
        return ["run", self.input, *to, "--profiles", self.profiles, *flags]

    def run(self, provider, *flags, env=None):
        """To its end."""
        return harness.ditto(*self.command(provider, *flags), env=environment(env), timeout=SECONDS)

    def start(self, provider):
        """Without waiting for it."""
        command = [str(harness.binary()), *map(str, self.command(provider))]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment())

    def unproven(self):
        """What `verify` says against the results; nothing if they hold."""
        verified = harness.ditto("verify", self.input, self.output, self.errors)
        return [] if verified.returncode == 0 else [verified.stdout + verified.stderr]


def environment(more=None):
    return os.environ | {KEY: "sk-simulated"} | (more or {})


def bill(provider):
    return provider.get("/sim/stats")["batches"]


def faults():
    """The names of all that the simulated provider knows."""
    told = harness.ditto("sim", "--help").stdout
    return re.findall(r"^  ([a-z][a-z0-9-]+)  +\S", told[told.index("Faults of --batch-fail") :], re.MULTILINE)
