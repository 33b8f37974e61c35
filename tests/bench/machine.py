"""What the system counts: of a process, of the machine."""

import datetime
import os
import pathlib
import platform
import resource
import subprocess
import time

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


class Others:
    """What others than this program and its children took of the processors, since it was made."""

    def __init__(self):
        self.begun, self.busy, self.own = time.monotonic(), busy_seconds(), own_seconds()

    def percent(self):
        busy, own = busy_seconds() - self.busy, own_seconds() - self.own
        there_was = (time.monotonic() - self.begun) * os.cpu_count()
        return max(0, 100 * (busy - own) / there_was)


def busy_seconds():
    """Of all processors, since the machine was started."""
    user, nice, system, _idle, _waiting, *interrupts = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + sum(interrupts)) / TICKS


def own_seconds():
    """Of this process and of its children that have ended."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


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
