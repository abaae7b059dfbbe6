"""A card for each model: what it is, what was measured of it, and its curves."""

from html import escape

from patchwork.report import markup

WIDTH, HEIGHT, MARGIN = 150, 60, 4  # of a curve, pixels


def cards(networks, trainings, epochs, headlines, sparklines):
    """All cards; nothing if no model is known. Each argument: rows of the table of that name."""
    learnt = {row["model"]: row for row in trainings}
    last = {row["run"]: row for row in sorted(epochs, key=lambda row: row["epoch"])}
    texts = []
    for network in networks:
        name = network["model"]
        numbers = [row for row in headlines if row["model"] == name]
        curves = {}
        for row in (row for row in sparklines if row["model"] == name):
            curves.setdefault(row["curve"], []).append((row["x"], row["y"]))
        texts.append(card(network, learnt.get(name), last.get(network["run"]), numbers, curves))
    return bool(texts) * (
        "<h3>Each model</h3><p>What each model is, all that was measured of it with 95 % intervals, and its "
        "curves. Parameters are counted in the file of the weights: all numbers but the statistics of batch "
        f"normalisation.</p>{''.join(texts)}"
    )


def card(network, training, last, numbers, curves):
    """The card of one model.

    training: its row of `trainings`, or None. last: its last epoch, or None. numbers: rows of `headlines`.
    curves: {what it is: [(x, y)]}.
    """
    facts = markup.facts(what_it_is(network) | how_it_learnt(training, last))
    rows = [
        [row["headline"], row["dataset"], share(row), interval(row), f"{row['counted']:,}"] for row in numbers
    ]
    titles = ["measured", "on", "#value", "#95 % interval", "#images or episodes"]
    return (
        f'<details class="card"><summary>{escape(network["model"])}: {escape(network["timm"])}, '
        f"{network['parameters']:,} parameters</summary>{facts}"
        + bool(numbers) * markup.table(f"Numbers of {network['model']}", titles, rows)
        + f'<div class="curves">{"".join(map(sparkline, curves, curves.values()))}</div></details>'
    )


def what_it_is(network):
    """Facts of the network and of its weights, in words."""
    sizes = {
        "input": ("input_pixels", "{} x {} pixels"),
        "patches": ("patch_pixels", "{} x {} pixels"),
        "tokens": ("grid", "{} x {}"),
    }
    return {
        "family": network["family"],
        "options": network["options"],
        "input": "not recorded",
        **{key: form.format(*network[name]) for key, (name, form) in sizes.items() if network[name]},
        "weights": f"{network['weights']}, digest {network['digest']}",
        "sha256": network["sha256"],
        "head": network["head"],
    }


def how_it_learnt(training, last):
    """Facts of the training of a model, in words; nothing of one that was not trained here."""
    if training is None:
        return {}
    epochs = last and f"{last['epoch']}"
    told = {name: training[name] for name in ("recipe", "teacher")}
    return {"trained on": training["data"], "epochs": epochs} | told


def share(row):
    """The value of a headline."""
    return f"{row['value']:.1%}" if row["unit"] == "share" else f"{row['value']:.3g}"


def interval(row):
    """Its interval."""
    if row["low"] is None:
        return "-"
    return " to ".join(share(row | {"value": row[end]}) for end in ("low", "high"))


def sparkline(name, points):
    """A small curve of shares, from 0 at the bottom to 1 at the top, with its points as text."""
    xs = [x for x, _ in points]
    span = max(xs) - min(xs) or 1
    places = [
        (
            MARGIN + (x - min(xs)) / span * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN),
        )
        for x, y in points
    ]
    text = escape(f"{name}: {', '.join(f'{y:.0%} at {x:.3g}' for x, y in points)}")
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in places)
    return (
        f'<figure><svg role="img" aria-label="{text}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><path class="ground" d="M0 {HEIGHT - MARGIN}H{WIDTH}"/>'
        f'<polyline points="{line}"/>{dots}</svg><figcaption>{escape(name)}: {points[0][1]:.0%} to '
        f"{points[-1][1]:.0%}</figcaption></figure>"
    )
