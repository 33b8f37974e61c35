"""A figure beside its yardstick, and whether it reaches its bar. Nothing here measures."""

import dataclasses
import math
import statistics

# What is shown of a number, by its unit.
UNITS = {
    "lines/s": "{:,.0f} lines/s",
    "batches/s": "{:,.0f} batches/s",
    "requests/s": "{:,.0f} req/s",
    "CPU ms": "{:.1f} ms CPU",
    "MB/s": "{:,.0f} MB/s",
    "MB": "{:,.1f} MB",
    "s": "{:.2f} s",
    "ms": "{:,.1f} ms",
    "": "{:.2f}",
}


@dataclasses.dataclass
class Bar:
    """What a ratio, or a figure that has no yardstick, must reach, and what is aimed at."""

    must: float
    aim: float
    # Else it must not be more.
    at_least: bool = True

    def is_met(self, value, bar):
        return value >= bar if self.at_least else value <= bar


@dataclasses.dataclass
class Figure:
    """One row of the table. `values` and `yardstick` were measured in turns: the n-th stand beside each other."""

    row: str
    what: str
    unit: str = ""
    values: list = dataclasses.field(default_factory=list)
    yardstick: list = dataclasses.field(default_factory=list)
    yardstick_name: str = ""
    bar: Bar | None = None
    # Why it is as it is, or why it could not be had.
    note: str = ""
    # Where a smaller figure is the better share of the yardstick, as seconds of an ideal are.
    turned: bool = False
    # What other programs took of the processors meanwhile.
    others_percent: float = 0

    def ratios(self):
        """Of each pair by itself: what disturbed the machine disturbed both."""
        pairs = zip(self.values, self.yardstick)
        return [other / value if self.turned else value / other for value, other in pairs]

    def is_plausible(self):
        """Measured, or a line that says why not; and no number that nothing can have."""
        numbers = [*self.values, *self.yardstick]
        return bool(numbers or self.note) and all(math.isfinite(one) and one >= 0 for one in numbers) and all(self.yardstick)

    def judged(self):
        """The number that is held against the bar."""
        judged = self.ratios() or self.values
        return statistics.median(judged) if judged else None

    def verdicts(self):
        """Whether it reaches what it must, and what is aimed at."""
        if self.bar is None or self.judged() is None:
            return []
        bars = (("must reach", self.bar.must), ("aim", self.bar.aim))
        return [(name, bar, self.bar.is_met(self.judged(), bar)) for name, bar in bars]


def spread(values, unit):
    """The median, and between what it lies."""
    if not values:
        return ""
    show = UNITS[unit].format
    middle = show(statistics.median(values))
    if len(values) == 1:
        return middle
    # The unit once is enough.
    low, high = (show(value).split(" ")[0] for value in (min(values), max(values)))
    return f"{middle} ({low} to {high})"


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
