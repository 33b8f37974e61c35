"""One file through batches of the simulated provider: the job, and what the provider has billed for it."""

import os
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

    folder: object
    rows: int
    profile: dict

    def __post_init__(self):
        self.folder.mkdir(parents=True)
        self.input = harness.samples(self.folder / "job.jsonl", "synthetic", "-n", self.rows)
        self.output, self.errors = self.folder / "job.output.jsonl", self.folder / "job.errors.jsonl"
        self.profiles = self.folder / "profiles.toml"
        settings = QUICK | self.profile
        self.profiles.write_text("[custom]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))

    def run(self, provider, *flags, env=None):
        """`run --provider custom` to its end."""
        to = ("--provider", "custom", "--base-url", provider.base_url, "--api-key-env", KEY)
        env = os.environ | {KEY: "sk-simulated"} | (env or {})
        return harness.ditto("run", self.input, *to, "--profiles", self.profiles, *flags, env=env, timeout=SECONDS)

    def unproven(self):
        """What `verify` says against the results; nothing if they hold."""
        verified = harness.ditto("verify", self.input, self.output, self.errors)
        return [] if verified.returncode == 0 else [verified.stdout + verified.stderr]


def bill(provider):
    return provider.get("/sim/stats")["batches"]
