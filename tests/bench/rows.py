"""The rows of the table, in the order in which they are measured."""

from bench import bulk, crowds, footprint, lines, peers

# The numbers of the rows that a measure makes, its name, and what it does.
MEASURES = [
    ("0", "wrk", lines.yardstick_itself),
    ("1 2", "serve", lines.serve),
    ("3", "run", lines.run),
    ("4", "occupancy", lines.occupancy),
    ("13", "small", crowds.small_batches),
    ("5", "upload", bulk.upload),
    ("6", "check", bulk.check),
    ("7", "download", bulk.download),
    ("8", "disk", footprint.disk),
    ("14", "calls", footprint.calls),
    ("15", "slow-disk", crowds.slow_disk),
    ("10", "large", crowds.large),
    ("11", "restart", crowds.restart),
    ("9", "memory", footprint.memory),
    ("12", "sizes", lines.sizes),
    ("P", "peers", peers.peers),
]


def chosen(wanted):
    """The measures that were named, by number or name; all if none was."""
    known = {word: measure for measure in MEASURES for word in (*measure[0].split(), measure[1])}
    unknown = [word for word in wanted if word not in known]
    if unknown:
        names = ", ".join(f"{name} ({numbers})" for numbers, name, _ in MEASURES)
        raise SystemExit(f"there is no row '{unknown[0]}'\nhint: there are {names}")
    picked = [known[word] for word in wanted]
    return [measure for measure in MEASURES if not wanted or measure in picked]
