"""What the results show of each claim of the paper."""

import math
from html import escape

from patchwork.report import markup

VERDICTS = ["supported", "not supported", "cannot tell", "not measured"]
TITLES = ["claim", "?verdict", "#effect", "#images", "supported in", "the paper", "chart"]
TEXT = (
    "<p>{} Each is decided by its numbers alone: an effect with its 95 % interval, which has to lie on one "
    "side of a threshold, 0 unless the claim says another. The networks of this run were trained once each, "
    "so a verdict is about them, not about all ViTs and CNNs; these are the models of the families "
    "<code>vit</code>, <code>cnn</code> and <code>swin</code>. Where they do not show what the paper found, "
    "the verdict is “not supported”.</p>"
    "<p>Differences are paired by image where the same images were seen; else they are of Newcombe. A claim "
    "of several comparisons has the mean of their effects, of the low and of the high ends, which is "
    "wide enough however they depend on each other; the comparisons have verdicts of their own. Images are "
    "those of one comparison (of few shots, episodes). The intervals are plain. The verdict of a claim has "
    "to hold after correction by Holm for all {} claims that were measured, too.</p>"
)


def claims(rows, comparisons, drawn):
    """All claims in a table, with their comparisons.

    rows: of the mart `claims`. comparisons: of `claim_comparisons`. drawn: names of the figures on the page.
    """
    of_claims = {}
    for each in comparisons:
        of_claims.setdefault(each["claim"], []).append(each)
    measured = sum(row["comparisons"] > 0 for row in rows)
    told = (claim(row, of_claims.get(row["key"], []), drawn) for row in rows)
    return TEXT.format(summary(rows), measured) + markup.framed("Claims", TITLES, told)


def summary(rows):
    """How many claims have which verdict, in a sentence."""
    verdicts = [row["verdict"] for row in rows if row["source"] != "ours"]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS]
    ours = len(rows) - len(verdicts)
    return f"Claims of the paper: {len(verdicts)}, of which {', '.join(counts)}; {ours} more are ours."


def claim(row, comparisons, drawn):
    """The row of a claim."""
    figure = escape(row["figure"])
    cells = [
        f"{escape(row['claim'])}{remarks(row)}{details(row, comparisons)}",
        row["verdict"],
        f"{interval(row)}<br>{escape(row['unit'])}" if comparisons else "-",
        images(row) if comparisons else "-",
        f"{row['supporting']} of {row['comparisons']}" if comparisons else "-",
        escape(published(row)),
        f'<a href="#{figure}">{figure.replace("_", " ")}</a>' if row["figure"] in drawn else "-",
    ]
    return markup.row(TITLES, cells, f' id="claim-{escape(row["key"])}" data-verdict="{row["verdict"]}"')


def remarks(row):
    """What would measure a claim that was not, and what the correction has taken from one that was."""
    if not row["comparisons"]:
        return f"<p>It takes {escape(row['study'])}.</p>"
    if row["verdict"] != row["uncorrected"]:
        told = f"{row['uncorrected']}, but not after correction for {row['measured']} claims"
        return f"<p>By its interval {told}.</p>"
    return ""


def details(row, comparisons):
    """The comparisons of a claim, each with its own verdict."""
    items = "".join(
        f"<li>{escape(each['about'])}: {interval(row | each)}, {each['verdict']}"
        f"{escape(' · ' + each['numbers']) if each['numbers'] else ''}; {each['sampled']:,}</li>"
        for each in comparisons
    )
    told = "1 comparison" if len(comparisons) == 1 else f"{len(comparisons)} comparisons"
    return bool(items) * f"<details><summary>{told}</summary><ul>{items}</ul></details>"


def interval(row):
    """'25.9 (22.6 to 29.2)': points and percent with a digit, all else with three."""
    digits = 1 if row["unit"].startswith(("points", "%")) else 3
    effect, *ends = (f"{row[name]:.{digits}f}" for name in ("effect", "low", "high"))
    return (
        f"{effect} ({' to '.join(ends)})" if math.isfinite(row["low"]) else f"{effect} (interval not known)"
    )


def images(row):
    """'1,000', or from the fewest to the most of the comparisons."""
    return " to ".join(dict.fromkeys(f"{row[name]:,}" for name in ("sampled_least", "sampled_most")))


def published(row):
    """What the paper tells of a claim, and where."""
    if row["source"] == "ours":
        return "a claim of ours"
    return f"{row['source']}: {'no number' if row['published'] == '-' else row['published']}"
