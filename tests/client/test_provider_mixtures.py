"""Mixtures of the simulated provider's faults, one to four at once, by seed: whatever comes together, every row comes
back once, and nothing is paid twice but what the provider itself has billed and lost."""

import os
import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import harness
import remote

ROWS, ROWS_A_SHARD = 120, 60
# Side by side: a job waits far more than it works.
JOBS = 12
# A mixture is named by its number; another base gives other ones.
BASE = int(os.environ.get("MIXTURE_BASE", "0"))
SHORT, LONG = 12, 200

# Of each, what may be drawn, where the usual measure or number of times is not what a quick job can wait for or
# bear. `{tokens}` is about half of a shard's.
SPELT = {
    "outage": ["outage:3s", "outage:8s"],
    "max-bytes": ["max-bytes:200mb"],
    "max-open": ["max-open:1", "max-open:2"],
    "tokens-refused": ["tokens-refused:9000", "tokens-refused:4000"],
    "tokens-failed": ["tokens-failed:9000", "tokens-failed:4000"],
    "max-lines": [f"max-lines:{ROWS_A_SHARD}", "max-lines:25"],
    "list-late": ["list-late:1s"],
    "ids-late": ["ids-late:2s"],
    "content-late": ["content-late:2s"],
    "cut": ["cut:5kb", "cut:40kb"],
    "expires": ["expires", "expires:0.2", "expires:0:x2"],
    "fails": ["fails", "fails:internal_error"],
    # Chance goes by the line and by how often it ran: one that is missing by chance is missing for ever.
    "line-missing": ["line-missing", "line-missing:x5"],
}

# These alone have their own tests.
LEFT_OUT = {
    "create-quota": "the account is empty until somebody pays",
    "stuck": "the batch ends only some time after its window, and one of seconds would end others too",
}

# A person has to do something, and then the job goes on: another key, or a word about a shard.
A_PERSON = {4, 5}

# At a share of a tenth a row may fail four times in a row, and then it has failed for good. So often it does not.
RETRIES = ("--retries", "12")

# Rows that are paid twice at most, each time that the fault strikes, and why.
PAID_TWICE = {
    "create-doubled": (ROWS_A_SHARD, "two batches are made, and one is told"),
    "output-null": (ROWS_A_SHARD, "the answers are billed, and the file of them is never named"),
    "output-gone": (ROWS_A_SHARD, "the answers are billed, and the file of them is not there"),
    "line-lost": (1, "billed, and there is no row"),
    "line-renamed": (1, "billed, and the answer carries no id of ours"),
    "line-id-null": (1, "billed, and the answer carries no id"),
    "line-unreadable": (1, "billed, and the row cannot be read"),
    "line-empty": (1, "billed, and the answer is empty"),
}


def mixture(seed, known):
    """One to four faults; of those that come once by themselves, some come more often."""
    chance = random.Random(seed)
    names = chance.sample([name for name in known if name not in LEFT_OUT], chance.randint(1, 4))
    return ",".join(spelt(name, chance) for name in names)


def spelt(name, chance):
    if name in SPELT:
        return chance.choice(SPELT[name])
    if name.startswith("line-"):
        return name + chance.choice(["", ":x3", ":0.1"])
    return name


def decided(job, said, bill):
    """The flags by which a person who has looked at the provider's decides about a shard that is stuck."""
    shard = re.search(r"--create-again (\d+)", said).group(1)
    named = [batch for batch in bill["batches"] if is_of(batch, shard) and batch["status"] != "failed"]
    return ("--adopt", f"{shard}={named[-1]['id']}") if named else ("--create-again", shard)


def is_of(batch, shard):
    return batch["metadata"].get("ditto_shard", "").split("-")[-2:-1] == [shard]


def run_to_its_end(job, provider):
    """Runs it as a person would who does what the hints say; the last run, and what was said on the way."""
    flags, said = RETRIES, []
    for _ in range(6):
        done = job.run(provider, *flags)
        if done.returncode not in A_PERSON:
            break
        said.append(done.stderr)
        flags = RETRIES + (decided(job, done.stderr, remote.bill(provider)) if done.returncode == 5 else ())
    return done, said


def offences(seed, known, folder):
    """What of the job with this mixture is not as it should be."""
    mixed = mixture(seed, known)
    job = remote.Job(folder, ROWS, {"max_lines": ROWS_A_SHARD, "call_seconds": 5})
    with harness.sim("--batch-pace", remote.PACE, "--seed", str(seed), "--batch-fail", mixed) as provider:
        done, said = run_to_its_end(job, provider)
        bill = remote.bill(provider)
    wrong = []
    if done.returncode != 0:
        wrong.append(f"exit {done.returncode}: {done.stderr[-600:]}")
    wrong += job.unproven() if done.returncode in (0, 9) else []
    wrong += ["a person was asked without a hint" for one in said if "hint: " not in one]
    bound = sum(rows * bill["faults"].get(fault, 0) for fault, (rows, _) in PAID_TWICE.items())
    if bill["billed"] > bill["billed_distinct"] + bound:
        wrong.append(f"{bill['billed']} rows billed for {bill['billed_distinct']}, {bound} more at most")
    if bill["billed_distinct"] != ROWS:
        wrong.append(f"{bill['billed_distinct']} different rows were billed of {ROWS}")
    if bill["keys_leaked"]:
        wrong.append("the key went to another host")
    return [f"seed {seed}, {mixed}: {one}" for one in wrong]


def hold(seeds, folder):
    known = remote.faults()
    assert len(known) > 60, known
    assert LEFT_OUT.keys() | SPELT.keys() | PAID_TWICE.keys() <= set(known)
    with ThreadPoolExecutor(JOBS) as several:
        found = several.map(lambda seed: offences(seed, known, folder / str(seed)), seeds)
        wrong = [one for some in found for one in some]
    assert not wrong, "\n".join(wrong)
    print(f"{len(seeds)} mixtures, seeds {seeds[0]} to {seeds[-1]}")


def test_a_sample_of_mixed_faults_costs_no_row_and_no_cent(tmp_path):
    hold(range(BASE, BASE + SHORT), tmp_path)


@pytest.mark.long
def test_two_hundred_mixtures_of_faults_cost_no_row_and_no_cent(tmp_path):
    hold(range(BASE + SHORT, BASE + SHORT + LONG), tmp_path)
