"""What was measured beside what the paper tells."""

from patchwork.report import markup


def beside(rows):
    """A table of all that can be compared; nothing if nothing can.

    rows: dicts of the mart beside_paper.
    """

    def told(row, name, sign=""):
        if row[name] is None:
            return "-"
        percent = row["unit"] == "%"
        return format(100 * row[name] if percent else row[name], f"{sign}.{1 if percent else 3}f") + (
            " %" * percent
        )

    titles = ["experiment", "model", "dataset", "condition", "#measured", "#95 % interval", "#published"]
    cells = [
        [
            *(row[name] for name in ("experiment", "model", "dataset", "condition")),
            told(row, "measured"),
            "-" if row["low"] is None else f"{told(row, 'low')} to {told(row, 'high')}",
            *(told(row, "published"), told(row, "difference", "+"), row["source"]),
        ]
        for row in rows
    ]
    return bool(rows) * (
        "<p>Numbers of this run beside those that the paper tells of the same network on the same images, "
        "where the config says by <code>published</code> that they are the same. The difference is measured "
        "minus published. What was read off a figure is exact to a point or so; the confidence, from 0 to 1, "
        "is how sure the reading is. Intervals are 95 % intervals over the images of this run; the paper has "
        "none.</p>" + markup.table("Beside the paper", [*titles, "#difference", "source"], cells)
    )
