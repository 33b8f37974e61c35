"""`ditto-batch run --provider`: one file through batches of a provider that misbehaves in each way that the simulator
knows. Every row comes back once, and what was paid is what was asked, but where the provider itself bills and loses."""

from concurrent.futures import ThreadPoolExecutor

import harness
import remote

ROWS = 300
# Side by side: a job waits far more than it works.
JOBS = 14

# How a job ends, if not with 0.
STOPS = {
    # The key and the account are a person's to mend.
    "key-echoed": 4,
    "create-quota": 4,
    # Nobody can tell whether there is a batch: a person decides.
    "create-dropped,list-none": 5,
    # The file is refused, for a limit that the profile does not know.
    "max-bytes:20000": 12,
    # No batch ever runs: each line is told with the provider's reason.
    "fails:always": 9,
    # What was cancelled goes on: nobody can tell whether it will be billed.
    "stuck,cancel-slow": 5,
}

# What is said on the way, where that is what matters.
SAYS = {
    "fails:always": ("shard 1: server_error: The batch failed, as asked for.", "batches failed: server_error"),
    "max-lines:70": ("too_many_tasks: The batch has 300 lines, too many.",),
    "stuck": ("is past its window, and was cancelled",),
    "stuck,cancel-slow": ("shard 1 cannot be found out", "--adopt 1=", "--create-again 1"),
}

# A window that a test can see the end of.
SHORT_WINDOW = {"windows": '["3s"]', "overdue_seconds": 5}

# Rows that are paid twice, at most, and why.
PAID_TWICE = {
    "create-doubled": (ROWS, "two batches are made of the one that these rows are, and one is told"),
    "output-null": (ROWS, "the answers are billed, and the file of them is never named"),
    "output-gone": (ROWS, "the answers are billed, and the file of them is not there"),
    "line-lost": (1, "billed, and there is no row"),
    "line-renamed": (1, "billed, and the answer carries no id of ours"),
    "line-id-null": (1, "billed, and the answer carries no id"),
    "line-unreadable": (1, "billed, and the row cannot be read"),
    "line-empty": (1, "billed, and the answer is empty"),
}

# Where the usual measure is longer than a quick job waits.
QUICKER = {
    "outage": "outage:8s",
    "list-late": "list-late:1s",
    "ids-late": "ids-late:3s",
    "content-late": "content-late:3s",
}

# With a measure, or with another fault, without which they would not show.
TOGETHER = [
    "max-open:1",
    "max-bytes:20000",
    "tokens-refused:9000",
    "tokens-failed:9000",
    "create-dropped,list-bare",
    "create-dropped,list-none",
    "create-dropped,list-failed",
    "create-dropped,list-loops",
    "create-dropped,list-oldest-first",
    "create-dropped,metadata-none",
    "create-dropped,times-iso",
    "line-missing,expires",
    "fails-midway,short",
    "expires,short,counts-none",
    "cut:20kb",
    "fails:always",
    "max-lines:70",
    "stuck:validating",
    "stuck:finalizing",
    "stuck:in_progress:always",
    "stuck,cancel-completes",
    "stuck,cancel-refused",
    "stuck,cancel-slow",
]


def offences(fault, folder):
    """What of this job is not as it should be."""
    profile = {"call_seconds": 5} | (SHORT_WINDOW if fault.startswith("stuck") else {})
    job = remote.Job(folder, ROWS, profile)
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", fault) as provider:
        done = job.run(provider)
        bill = remote.bill(provider)
    wrong = []
    wanted = STOPS.get(fault, 0)
    if done.returncode != wanted:
        wrong.append(f"exit {done.returncode} and not {wanted}: {done.stderr[-400:]}")
    wrong += [f"no word of `{said}`: {done.stderr}" for said in SAYS.get(fault, ()) if said not in done.stderr]
    if wanted in (0, 9):
        wrong += job.unproven()
    elif "hint: " not in done.stderr:
        wrong.append(f"no word of what to do next: {done.stderr[-400:]}")
    most, why = PAID_TWICE.get(fault, (0, "nothing may be"))
    if bill["billed"] > bill["billed_distinct"] + most:
        wrong.append(f"{bill['billed']} rows billed for {bill['billed_distinct']}, {most} more at most: {why}")
    if bill["keys_leaked"]:
        wrong.append("the key went to another host")
    return [f"{fault}: {one}" for one in wrong]


def test_each_fault_of_a_provider_costs_no_row_and_no_cent(tmp_path):
    known = remote.faults()
    assert len(known) > 60, known
    named = {name for name in (*STOPS, *PAID_TWICE, *QUICKER) if "," not in name and ":" not in name}
    assert named <= set(known)
    chosen = [QUICKER.get(name, name) for name in known] + TOGETHER
    with ThreadPoolExecutor(JOBS) as several:
        found = several.map(lambda at: offences(at[1], tmp_path / str(at[0])), enumerate(chosen))
        wrong = [one for some in found for one in some]
    assert not wrong, "\n".join(wrong)
    print(f"{len(chosen)} faults and mixtures of them")
