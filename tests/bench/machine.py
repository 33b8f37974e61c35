"""What the system counts: of a process, of the machine."""

import datetime
import os
import pathlib
import platform
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def cpu_seconds(pid):
    """Of all its threads, in user space and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def written_bytes(pid):
    """Bytes that it had written to a disk, or will have once the cache is emptied."""
    return counted(f"/proc/{pid}/io", "write_bytes")


def counted(path, name):
    lines = pathlib.Path(path).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def load():
    """How many processes wanted to run, over the last minute."""
    return os.getloadavg()[0]


def description(disk):
    """Two lines for a reader who has another machine."""
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = counted("/proc/meminfo", "MemTotal") / (1 << 20)
    kind = said("findmnt", "-no", "SOURCE,FSTYPE", "-T", str(disk)) or "?"
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, disk {' '.join(kind.split())}, Linux {platform.release()}"


def commit():
    changed = said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.lock")
    return (said("git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD") or "?") + ("+" if changed else "")


def today():
    return datetime.date.today().isoformat()


def said(*command):
    """What a command says, or nothing where it is not to be had."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
