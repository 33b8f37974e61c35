"""`ditto-batch run --provider`: one file through batches of a provider that misbehaves in each way that the simulator
knows. Every row comes back once, and what was paid is what was asked, but where the provider itself bills and loses."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import harness

ROWS = 300
# Side by side: a job waits far more than it works.
JOBS = 14
KEY = "SIMULATED_PROVIDER_KEY"

# How a job ends, if not with 0.
STOPS = {
    # The key and the account are a person's to mend.
    "key-echoed": 4,
    "create-quota": 4,
    # Nobody can tell whether there is a batch: a person decides.
    "create-dropped,list-none": 5,
    # The file is refused, for a limit that the profile does not know.
    "max-bytes:20000": 12,
}

# Rows that are paid twice, at most, and why.
PAID_TWICE = {
    "create-doubled": (ROWS, "two batches are made of the one that these rows are, and one is told"),
    "line-renamed": (1, "billed, and the answer carries no id of ours"),
    "line-id-null": (1, "billed, and the answer carries no id"),
    "line-unreadable": (1, "billed, and the row cannot be read"),
    "line-empty": (1, "billed, and the answer is empty"),
}

# With a measure, or with another fault, without which they would not show.
TOGETHER = [
    "max-open:1",
    "max-bytes:20000",
    "create-dropped,list-bare",
    "create-dropped,list-none",
    "create-dropped,list-failed",
    "create-dropped,list-loops",
    "create-dropped,list-oldest-first",
    "create-dropped,metadata-none",
    "create-dropped,times-iso",
    "line-missing,expires",
    "cut:20kb",
]

# These are looked at again and again for minutes before they are taken for what they are, or never end.
SLOW = {
    "outage", "create-lost", "create-hung", "create-failed", "create-error-200", "ids-late", "content-late", "short",
    "output-null", "output-gone", "line-missing", "line-lost", "stuck", "max-lines", "max-line-bytes",
}


def faults():
    told = harness.ditto("sim", "--help").stdout
    return re.findall(r"^  ([a-z][a-z0-9-]+)  +\S", told[told.index("Faults of --batch-fail") :], re.MULTILINE)


def offences(fault, folder):
    """What of this job is not as it should be."""
    folder.mkdir()
    job, profiles = folder / "job.jsonl", folder / "profiles.toml"
    harness.samples(job, "synthetic", "-n", ROWS)
    profiles.write_text("[custom]\npoll_seconds = 1\n")
    with harness.sim("--batch-pace", "200ms/500ms/200ms", "--batch-fail", fault) as provider:
        to = ("--provider", "custom", "--base-url", provider.base_url, "--api-key-env", KEY, "--profiles", profiles)
        done = harness.ditto("run", job, *to)
        bill = provider.get("/sim/stats")["batches"]
    wrong = []
    wanted = STOPS.get(fault, 0)
    if done.returncode != wanted:
        wrong.append(f"exit {done.returncode} and not {wanted}: {done.stderr[-400:]}")
    if wanted == 0:
        verified = harness.ditto("verify", job, folder / "job.output.jsonl", folder / "job.errors.jsonl")
        if verified.returncode != 0:
            wrong.append(verified.stdout + verified.stderr)
    elif "hint: " not in done.stderr:
        wrong.append(f"no word of what to do next: {done.stderr[-400:]}")
    most, why = PAID_TWICE.get(fault, (0, "nothing may be"))
    if bill["billed"] > bill["billed_distinct"] + most:
        wrong.append(f"{bill['billed']} rows billed for {bill['billed_distinct']}, {most} more at most: {why}")
    if bill["keys_leaked"]:
        wrong.append("the key went to another host")
    return [f"{fault}: {one}" for one in wrong]


def test_each_fault_of_a_provider_costs_no_row_and_no_cent(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "sk-simulated")
    known = faults()
    assert len(known) > 60, known
    assert SLOW | {name for name in (*STOPS, *PAID_TWICE) if "," not in name and ":" not in name} <= set(known)
    chosen = [name for name in known if name not in SLOW] + TOGETHER
    with ThreadPoolExecutor(JOBS) as several:
        found = several.map(lambda at: offences(at[1], tmp_path / str(at[0])), enumerate(chosen))
        wrong = [one for some in found for one in some]
    assert not wrong, "\n".join(wrong)
    print(f"{len(chosen)} faults and pairs of them")
