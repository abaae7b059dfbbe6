"""What the report does without, and why."""

from patchwork.report import markup


def refused(rows, measures):
    """What could not be done to which models, by perturbations and measures; nothing if there was nothing."""
    reasons = {}
    for row in rows:
        strip = (row["model"], f"{row['perturbation']} {row['variant']}".replace("_", " "), row["reason"])
        reasons.setdefault(strip, []).append(f"{row['level']:g}")
    cells = [
        [model, name, reason, ", ".join(dict.fromkeys(levels))]
        for (model, name, reason), levels in reasons.items()
    ]
    cells += [
        [row["model"], f"{row['measure'].replace('_', ' ')} on {row['dataset']}", row["reason"], "all"]
        for row in measures
        if row["reason"]
    ]
    return bool(cells) * (
        "<p>Some perturbations and measures do not apply to some models. These were left out, and are in no "
        "figure.</p>" + markup.table("Not applicable", ["model", "what", "why", "levels left out"], cells)
    )


def missing(lost):
    """What was asked for and is not there; nothing if all is. lost: {file: last line of its log}."""
    return bool(lost) * (
        f'<p class="warning"><strong>{markup.count(len(lost), "result")} that the config asks for '
        f"{'is' if len(lost) == 1 else 'are'} not there.</strong> This page is made without.</p>"
        + markup.table("Missing", ["file", "last line of its log"], [*lost.items()])
    )


def skipped(rows):
    """The files that took no part; nothing if all did."""
    if not rows:
        return ""
    cells = [[row["dataset"], row["path"], row["problem"] or ""] for row in rows]
    return f"<p>{markup.count(len(rows), 'file')} could not be used.</p>" + markup.table(
        "Files left out", ["dataset", "file", "problem"], cells
    )
