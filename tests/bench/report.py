"""The table: on the terminal as rows end, and between two marks in BENCHMARKS.md."""

from bench.figures import spread

BEGIN = "<!-- The table is written by scripts/bench. -->"
END = "<!-- Here it ends. -->"

COLUMNS = ("#", "what", "figure", "yardstick", "ratio", "must reach", "aim", "note")


def cells(figure):
    ratios = figure.ratios()
    yardstick = f"{figure.yardstick_name}: {spread(figure.yardstick, figure.unit)}" if figure.yardstick else ""
    verdicts = [verdict(*one, figure.bar.at_least) for one in figure.verdicts()]
    return [
        figure.row,
        figure.what,
        spread(figure.values, figure.unit) or "-",
        yardstick,
        spread(ratios, "") if ratios else "",
        *(verdicts or ["", ""]),
        figure.note,
    ]


def verdict(name, bar, met, at_least):
    missed = "**not met**" if name == "must reach" else "not met"
    return f"{'≥' if at_least else '≤'} {bar:,g}: {'met' if met else missed}"


def line(words):
    return "| " + " | ".join(words) + " |"


def show(figure, short):
    """For the terminal: without verdicts where the sizes are too small to judge."""
    number, what, *rest = cells(figure)
    if short:
        rest[3:5] = []
    print(f"{number:>2}  {what}: " + "; ".join(word.replace("*", "") for word in rest if word), flush=True)


def table(rows):
    """All of them by number, with when each was measured."""
    head = [line((*COLUMNS, "measured")), "|" + "---|" * (len(COLUMNS) + 1)]
    return "\n".join(head + [row for _, row in sorted(rows, key=lambda row: order(row[0]))])


def order(number):
    return int(number) if number.isdigit() else 99


def write(path, figures, measured, description):
    """Rows that were measured now take the place of theirs; the others stay, and say when they were measured."""
    text = path.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    now = {figure.row for figure in figures}
    rows = [(number, row) for number, row in known(old) if number not in now]
    rows += [(figure.row, line((*cells(figure), measured))) for figure in figures]
    path.write_text(f"{before}{BEGIN}\n{description}\n\n{table(rows)}\n\n{END}{after}")


def known(old):
    """The rows that stand there, with their numbers."""
    for row in old.splitlines():
        number = row.split("|")[1].strip() if row.startswith("| ") else ""
        if number not in ("", COLUMNS[0]):
            yield number, row
