"""What was asked, done, does not apply, or is missing: a matrix for each dataset."""

from html import escape

from patchwork.report import markup

KINDS = ("perturbation", "measure", "readout")


def coverage(rows):
    """A matrix for each dataset, models as rows; nothing if nothing was asked. rows: of `coverage`."""
    found = {}
    for row in rows:
        found.setdefault(row["dataset"], []).append(row)
    return bool(rows) * (
        "<p>What was asked of each model, and what of it is there. Numbers are cells (levels times seeds) "
        "that are done, of those asked for; “n/a” means that it does not apply to the model, or that many "
        "of its levels do not; a dash that nobody asked. Reasons are listed under “Not applicable” and "
        "“Missing”.</p>" + "".join(map(matrix, found, found.values()))
    )


def matrix(dataset, rows):
    """The matrix of one dataset, folded under how much of it is done; unfolded if something is missing."""
    cells = {(row["model"], row["what"]): told(row) for row in rows}
    columns = dict.fromkeys(row["what"] for row in sorted(rows, key=lambda row: KINDS.index(row["kind"])))
    models = dict.fromkeys(model for model, _ in cells)
    states = [row["state"] for row in rows]
    counted = [f"{states.count(s)} {s}" for s in ("done", "not applicable", "missing") if s in states]
    table = markup.table(
        f"What was asked on {dataset}",
        ["model", *columns],
        [[model, *(cells.get((model, what), "-") for what in columns)] for model in models],
    )
    return (
        f'<details class="matrix"{" open" * ("missing" in states)}>'
        f"<summary>{escape(dataset)}: {', '.join(counted)}</summary>{table}</details>"
    )


def told(row):
    """A cell of the matrix."""
    if row["state"] != "done":
        return "n/a" if row["state"] == "not applicable" else "missing"
    if row["cells_asked"] is None:
        return "done"
    left_out = f", {row['levels_left_out']} levels n/a" if row["levels_left_out"] else ""
    return f"{row['cells_done']} of {row['cells_asked']}{left_out}"
