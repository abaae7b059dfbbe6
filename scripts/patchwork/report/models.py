"""The tables of the report that have a row for each model."""

from html import escape

from patchwork.report import markup


def untouched(rows):
    """What each model knows of the untouched images, and a plain word where that is nothing."""
    titles = [
        "model",
        "family",
        "dataset",
        "#top-1",
        "#95 % interval",
        "#images",
        "#chance",
        "against chance",
    ]
    cells = [
        [
            *(row["model"], row["model_family"], row["dataset"], f"{row['top1']:.1%}"),
            *(f"{row['low']:.1%} to {row['high']:.1%}", f"{row['images']:,}", f"{row['chance']:.1%}"),
            row["against_chance"],
        ]
        for row in rows
    ]
    guessing = ", ".join(
        f"{row['model']} on {row['dataset']}"
        for row in rows
        if row["perturbed"] and row["against_chance"] == "not told apart"
    )
    warning = (
        f'<p class="warning"><strong>Not told apart from chance:</strong> {escape(guessing)}. What such a '
        "model loses to a perturbation cannot be seen, so its curves say nothing about robustness.</p>"
    )
    return (
        "<p>Accuracy on untouched images, with a 95 % Wilson interval over images. Chance is what always "
        "naming the most frequent class would score; a model is above or below it if its whole interval is. "
        "Below means that it goes by something other than the label: where cues disagree, another cue.</p>"
        + warning * bool(guessing)
        + markup.table("Accuracy on untouched images", titles, cells)
    )


def tradeoff(rows):
    """What shape bias costs: a table for each dataset of disagreeing images, with a row for each model, of a
    distilled one for each token; nothing if none was measured."""
    tables = {}
    for row in rows:
        tables.setdefault((row["dataset"], row["natural_images"], row["stylized_images"]), []).append(row)
    return bool(rows) * (
        "<p>What shape bias costs: top-1 on natural and on stylized images beside the shape bias, each token "
        "of a distilled network scored alone. The shape bias is that over all images that were decided for "
        "shape or texture; its mean over classes lets every class count alike, however many of its images "
        "were. In brackets are 95 % intervals over images: Wilson's, and by bootstrap for the mean. A dash "
        "stands where nothing was measured.</p>"
        + "".join(tradeoff_of(*datasets, those) for datasets, those in tables.items())
    )


def tradeoff_of(conflict, natural, stylized, rows):
    """The table of one dataset of disagreeing images."""

    def share(row, name, low, high):
        if row[name] is None:
            return "-"
        told = f"{100 * row[name]:.1f}"
        return f"{told} ({100 * row[low]:.0f} to {100 * row[high]:.0f})" if row[low] is not None else told

    titles = ["model", "token", "trained on", "teacher"]
    titles += [f"#top-1 on {dataset}, %" for dataset in (natural, stylized) if dataset]
    titles += ["#shape bias, %", "#mean over classes, %"]
    cells = [
        [
            row["model"],
            *(row[name] or "-" for name in ("head", "trained_on", "teacher")),
            *[share(row, "natural_top1", "natural_low", "natural_high")] * bool(natural),
            *[share(row, "stylized_top1", "stylized_low", "stylized_high")] * bool(stylized),
            share(row, "shape_bias", "low", "high"),
            share(row, "class_mean", "class_mean_low", "class_mean_high"),
        ]
        for row in rows
    ]
    return f"<h3>{escape(conflict)}</h3>" + markup.table(f"Trade-off on {conflict}", titles, cells)
