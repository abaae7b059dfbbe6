"""What the results show of each claim."""

from patchwork.report import markup


def findings(rows):
    """What the trainings show, a statement a row; nothing if there is nothing to compare."""
    titles = ["statement", "of", "verdict", "numbers"]
    cells = [[row["claim"], row["about"], row["verdict"], row["numbers"]] for row in rows]
    return bool(rows) * (
        "<p>Statements about shape, texture and training, each decided by its numbers alone. Intervals "
        "are 95 % intervals over images: Wilson's, and of the mean for Jaccard indices. A verdict is yes or "
        "no only where the intervals are apart; else the images cannot tell. Nothing is corrected for the "
        "number of rows, and every network was trained once, so a verdict is about these networks. Shape "
        "bias (Geirhos et al. 2019) is the share of decisions for the shape among those for shape or "
        "texture, where the two disagree. A texture counts as hidden if it is answered less often than "
        "before and than 1.5 times by chance.</p>" + markup.table("Findings", titles, cells)
    )
