"""The page of two runs compared."""

import json
from html import escape

import pyarrow as pa

from patchwork import comparing, theme
from patchwork.report import charts, markup, origin, page

FIGURE = "before-after"
TITLES = ["model", "dataset", "number", "#level", "#before", "#after", "#change, points", "#95 % interval"]
TITLES += ["#adjusted p", "#images changed", "#of"]
METHOD = (
    "Both runs decided the same images, perturbed by the same random numbers, so each number is "
    "compared image by image (of few-shot learning, episode by episode). The interval of top-1 is the "
    "adjusted Wald interval of paired shares, that of other numbers the normal approximation. p is how "
    "often a change as large is seen if each image were as likely to have changed the other way; of "
    "top-1 it is exact, and with one seed that of McNemar's test. As many numbers are compared, p is "
    "adjusted after Benjamini and Hochberg (1995) over those that differ: one that is the same in every "
    f"image cannot have moved. What moved has an adjusted p of at most {comparing.FALSE_SHARE:g}. A few "
    "false ones in a list that is to be looked at do no harm; Holm's procedure, which allows for none, "
    "would hide small moves. Numbers of the same images move together. What moved them, a change or a "
    "training that ended elsewhere, is not told."
)


def write(template, rows, runs, caption, chart):
    """The page (HTML).

    template: of the report. rows: a table of comparing.COMPARED. runs: what the runs before and after are
    called. caption, chart: of the figure, its text and the function of its rows that draws it.
    """
    both, alone = divided(rows)
    drawn = json.loads(theme.specification(chart(marks(both)), caption))
    sections = {
        "figures": ("Before and after", charts.figure(FIGURE, caption, drawn)),
        "moved": ("What moved", what_moved(both)),
        "alone": ("In one run alone", in_one_run(alone)),
    }
    return page.fill(
        template,
        sections,
        [(FIGURE, caption, drawn)],
        title="Patchwork: two runs compared",
        lead="Two runs compared, image by image",
        summary=escape(f"{told(rows)} Before: {runs[0]}. After: {runs[1]}."),
        origin=markup.facts(origin.made()),
    )


def divided(rows):
    """The rows of both runs and those of one alone, as dicts."""
    every = rows.to_pylist()
    return [row for row in every if row["units"]], [row for row in every if not row["units"]]


def told(rows):
    """What was found, in a few words. rows: a table of comparing.COMPARED."""
    both, alone = divided(rows)
    changed, moved = (sum(row[name] > 0 for row in both) for name in ("changed_units", "moved"))
    text = f"{moved:,} of {markup.count(len(both), 'cell')} moved"
    if moved:
        row = max((row for row in both if row["moved"]), key=lambda row: abs(row["difference"]))
        text += f", largest: {row['model']} on {row['dataset']}, {words(row)} {level(row)}, "
        text += f"{row['before']:.1%} to {row['after']:.1%}, {points(row['difference'])} points "
        text += f"(95 % interval {interval(row)})"
    text += f"; {changed:,} differ at all." if changed else ": they are the same, image by image."
    return text + f" {markup.count(len(alone), 'cell')} in one run alone." * bool(alone)


def words(row):
    """What is compared, in words: 'top-1 random drop 8x8', without its level."""
    names = (row["measure"], row["perturbation"], row["variant"])
    return " ".join(name for name in names if name and name != "plain").replace("_", " ")


def level(row):
    return "-" if row["level"] is None else f"{row['level']:g}"


def points(difference):
    """A difference of shares in points of a hundred; ends of the interval of a single unit are None."""
    return "-" if difference is None else f"{100 * difference:+.2f}"


def interval(row):
    return f"{points(row['low'])} to {points(row['high'])}"


def marks(both):
    """What the figure draws, a table."""
    kept = ("model", "dataset", "before", "after", "low", "high", "units", "changed_units", "p_adjusted")
    return pa.Table.from_pylist(
        [
            {name: row[name] for name in kept}
            | {
                "panel": row["measure"],
                "cell": words(row),
                "level": row["level"],
                "change": row["difference"],
            }
            | {"state": "moved" if row["moved"] else "not moved"}
            for row in sorted(both, key=lambda row: row["moved"])  # so that these lie on top
        ]
    )


def what_moved(both):
    """The table of what moved, and how that was decided."""
    moved = sorted((row for row in both if row["moved"]), key=lambda row: -abs(row["difference"]))
    changed = [row for row in both if row["changed_units"]]
    beside = sum(row["low"] is not None and not row["low"] <= 0 <= row["high"] for row in changed)
    share = comparing.FALSE_SHARE
    cells = [
        [
            *(row["model"], row["dataset"], words(row), level(row)),
            *(f"{row['before']:.1%}", f"{row['after']:.1%}", points(row["difference"]), interval(row)),
            *(f"{row['p_adjusted']:.2g}", f"{row['changed_units']:,}", f"{row['units']:,}"),
        ]
        for row in moved
    ]
    return (
        f"<p>Of {markup.count(len(both), 'number')} that both runs have, {len(changed):,} differ at all. "
        f"{beside:,} have a 95 % interval of the change without 0; by chance alone it would be about "
        f"{share * len(changed):.1f}. {len(moved):,} moved, of which up to {share * len(moved):.1f} are "
        f"expected to be false.</p><p>{METHOD}</p>" + bool(moved) * markup.table("What moved", TITLES, cells)
    )


def in_one_run(alone):
    """What cannot be compared; nothing if all can."""
    levels = {}
    for row in alone:
        run = "before" if row["after"] is None else "after" if row["before"] is None else "both, other seeds"
        key = row["model"], row["dataset"], words(row), run
        levels.setdefault(key, []).append(level(row))
    cells = [[*key, ", ".join(those)] for key, those in levels.items()]
    titles = ["model", "dataset", "number", "run", "levels"]
    return bool(cells) * markup.table("In one run alone", titles, cells)
