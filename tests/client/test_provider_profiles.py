"""Every provider of the table, by its own profile: its paths, purpose, windows, status words and paging, against a
simulated provider that is told to look like it. The profile's pauses alone are not its own."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import harness
import remote

ROWS = 6
# Side by side: a job waits far more than it works.
JOBS = 10

# What the simulator can imitate of each, beside what all have.
LOOKS = {
    "azure": "ids-empty,times-iso,counts-none,error-file-empty",
    "deepinfra": "error-file-empty,response-absent",
    # With the oldest first, the second batch is not on the first page.
    "groq": "list-paged:cursor,list-oldest-first",
    "morph": "list-paged:offset,list-oldest-first",
    "novita": "status-upper,status-unknown:progress",
    "parasail": "redirect",
    "siliconflow": "upload-wrapped:data,status-unknown:in_queue,counts-none",
    "together": "create-wrapped:job,list-bare,status-upper,times-iso,counts-none,metadata-none,length-none",
}

# They give the same batch for the same key, which the simulator does not.
REPEATED_BY_KEY = {"ditto", "perplexity"}

# What the simulated model answers, with a body for each.
BODIES = {
    "chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "completions": {"prompt": "hello"},
    "embeddings": {"input": "hello"},
    "responses": {"input": "hello"},
}


def profiles():
    """All that `run` speaks to."""
    told = harness.ditto("providers", "--json").stdout
    return [one for one in map(json.loads, told.splitlines()) if one["api"] == "openai"]


def rows(profile):
    """For the first of its endpoints, spelled as the provider does."""
    url = (profile["endpoints"] or [profile["version_prefix"] + "/chat/completions"])[0]
    body = {"model": "demo-small"} | BODIES[url.removeprefix(profile["version_prefix"] + "/")]
    lines = ({"custom_id": f"row {n}", "method": "POST", "url": url, "body": body | {"user": str(n)}} for n in range(ROWS))
    return "".join(json.dumps(line) + "\n" for line in lines)


def offences(profile, folder):
    """What of a small job by this profile is not as it should be: both creates lose their answers."""
    name = profile["name"]
    folder.mkdir()
    (folder / "rows.jsonl").write_text(rows(profile))
    job = remote.Job(folder / "job", ROWS, {"max_lines": ROWS // 2}, like=folder / "rows.jsonl", name=name)
    faults = LOOKS.get(name, "").split(",") + ["" if name in REPEATED_BY_KEY else "create-dropped:x2"]
    faults = [fault for fault in faults if fault]
    with harness.sim("--batch-pace", remote.PACE, "--batch-fail", ",".join(faults)) as provider:
        # Where it lives, but for the host.
        address = profile["base_url"] or profile["base_url_hint"]
        provider.base_url = f"http://{provider.address}{urlsplit(address).path if '://' in address else '/v1'}"
        done = job.run(provider)
        bill = remote.bill(provider)
    wrong = [f"exit {done.returncode}: {done.stderr[-400:]}"] if done.returncode else job.unproven()
    if (bill["billed"], bill["billed_distinct"]) != (ROWS, ROWS):
        wrong.append(f"{bill['billed']} rows billed for {bill['billed_distinct']}: {done.stderr[-400:]}")
    missing = {fault.split(":")[0] for fault in faults} - set(bill["faults"])
    if missing:
        wrong.append(f"never met {missing}")
    return [f"{name}: {one}" for one in wrong]


def test_a_job_goes_through_every_profile_with_what_is_peculiar_to_it(tmp_path):
    known = profiles()
    assert len(known) > 18, known
    assert set(LOOKS) | REPEATED_BY_KEY <= {profile["name"] for profile in known}
    with ThreadPoolExecutor(JOBS) as several:
        found = several.map(lambda one: offences(one, tmp_path / one["name"]), known)
        wrong = [one for some in found for one in some]
    assert not wrong, "\n".join(wrong)
    print(", ".join(profile["name"] for profile in known))
