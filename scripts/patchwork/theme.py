"""How every chart looks, so that no figure chooses a font, a size or a colour."""

import json
import re
from typing import Any

import altair as alt

from patchwork.columns import SHOWN

# Far apart (14 CIELAB units or more), in simulated protanopia, deuteranopia and tritanopia too; a contrast
# of 3:1 to the white and to the dark page. With its shape each of 56 models has a look of its own.
COLOURS = ["#4184de", "#df620b", "#039775", "#c06bb1", "#9d04ff", "#f50244", "#527835", "#bc0cb3"]
STATES = ["#b9c4d0", "#8e7cc3", "#2c3440"]  # of tokens: untouched, cut, lost; they are no models
PALE = "#868c95"  # of what a curve is compared with
HUMAN = "#6b717b"  # of people, whose places are below 0
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
WIDTH, HEIGHT, PANEL_COLUMNS = 380, 260, 2
ROW_PIXELS = 28

alt.data_transformers.disable_max_rows()  # a figure's rows are few, but 5000 is fewer than a wide grid needs


@alt.theme.register("patchwork", enable=True)
def theme():
    labels = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    config: Any = {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": HEIGHT},
        "range": {"category": COLOURS},
        "axis": {**labels, "titlePadding": 10, "grid": False, "labelFlush": False},
        "axisY": {"grid": True, "domain": False, "ticks": False, "gridOpacity": 0.6},
        "header": {"labelFontSize": 13, "labelFontWeight": 600, "title": None, "labelPadding": 8},
        "legend": {
            **labels,
            "orient": "top",
            "title": None,
            "columns": 5,
            "symbolSize": 90,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 2,
            "columnPadding": 18,
        },
        "facet": {"spacing": 30},
        "title": {
            "anchor": "start",
            "fontSize": 15,
            "fontWeight": 600,
            "subtitleFontSize": 12,
            "subtitlePadding": 5,
            "offset": 12,
        },
        "line": {"strokeWidth": 2},
        "point": {"size": 45, "filled": True},
        "style": {
            "interval": {"strokeWidth": 1.5},
            "spread": {"strokeWidth": 0},
            "published": {"strokeWidth": 1, "strokeDash": [3, 3]},
            "chance": {"color": PALE, "strokeDash": [4, 4], "strokeWidth": 1},
            "chance-label": {"color": PALE, "fontSize": 11, "align": "left", "dy": -6, "dx": 2},
        },
    }
    return alt.theme.ThemeConfig(config=config)


def curves(cells, title, x, columns=PANEL_COLUMNS):
    """Top-1 against `x`: a line for each model, a panel for each dataset and variant.

    cells: rows of the mart `accuracy`. title: of the chart. x: an altair X. columns: of panels; the more,
    the smaller they are.
    """
    chosen = choice()
    base: Any = alt.Chart(cells).encode(x=x, color=colour(cells))
    y = share("top1", "top-1 accuracy")
    spread = base.transform_filter("isValid(datum.seed_spread)").transform_calculate(
        below="datum.top1 - datum.seed_spread", above="datum.top1 + datum.seed_spread"
    )
    layers = [
        *chance(cells),
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        line(base.encode(y=y), chosen),
        spread.mark_area(style="spread", clip=True).encode(
            y="below:Q", y2="above:Q", opacity=faded(chosen, 0.25, 0.03), detail="model:N"
        ),
        *published(base, cells, chosen),
        interval(base, chosen),
        points(base.encode(y=y), cells, chosen),
    ]
    return panels(alt.layer(*layers), cells, title, columns)


def choice(field="model"):
    """What a click in the legend chooses."""
    return alt.selection_point(fields=[field], bind="legend")


def share(column, title, channel=alt.Y):
    """An axis from 0 to 100 %."""
    domain, axis = alt.Scale(domain=[0, 1]), alt.Axis(format="%", tickCount=5)
    return channel(f"{column}:Q", title=title, scale=domain, axis=axis)


def blocks(title="block"):
    """An X of the blocks of a network."""
    return alt.X("block:O", title=title, axis=alt.Axis(labelAngle=0))


def chance(cells, column="chance"):
    """A dashed line across a panel where guessing would be, with its name."""
    base: Any = alt.Chart(cells).encode(y=f"mean({column}):Q")
    return [
        base.mark_rule(style="chance"),
        base.mark_text(style="chance-label", text="chance").encode(x=alt.value(0)),
    ]


def line(base, chosen, **mark):
    """A line for each model, which the legend chooses among."""
    return base.mark_line(**mark).encode(opacity=faded(chosen, 1, 0.12))


def interval(base, chosen, low="low", high="high", channel=alt.Y, title=None, opacity=0.6):
    """Bars from `low` to `high`, upright or, with the channel X, level."""
    ends = {"y2": f"{high}:Q"} if channel is alt.Y else {"x2": f"{high}:Q"}
    start = channel(f"{low}:Q", **({"title": title} if title else {}))
    return base.mark_rule(style="interval").encode(start, **ends, opacity=faded(chosen, opacity, 0.05))


def points(base, cells, chosen, opacity=1, **mark):
    """Marks in the shapes of the models, which the legend chooses among and which tell of their rows."""
    marks = base.mark_point(opacity=1, **mark).encode(
        shape=shape(cells), opacity=faded(chosen, opacity, 0.12)
    )
    return told(marks, cells).add_params(chosen)


def published(base, cells, chosen, column="published", channel=alt.Y):
    """The paper's numbers of the same models, in their colours: upwards hollow points on a thin dashed line,
    in rows hollow points alone; no layer where there are none."""
    if column not in present(cells):
        return []
    there = base.transform_filter(f"isValid(datum.{column})").encode(
        channel(f"{column}:Q"), opacity=faded(chosen, 0.9, 0.1)
    )
    dashed = [there.mark_line(style="published")] * (channel is alt.Y)
    return [*dashed, told(there.mark_point(filled=False, shape="circle"), cells)]


def others(base, cells, named, **text):
    """Published numbers of other models, whose rows have no images: pale lines, with their names where
    `named` holds (an expression)."""
    pale = base.transform_filter("!isValid(datum.images)").encode(detail="model:N")
    look = {"color": PALE, "opacity": 0.6}
    names = pale.transform_filter(named).mark_text(color=PALE, fontSize=9, **text).encode(text="model:N")
    return [pale.mark_line(**look), told(pale.mark_point(**look), cells), names]


def present(cells):
    """The columns in which some row has a value."""
    return [name for name in cells.column_names if cells[name].null_count < len(cells)]


def told(marks, cells):
    """Marks with a tooltip that tells of a row what the table below the chart does; an interval in one line,
    a dash where there is no number."""
    known = present(cells)
    names = [name for name in SHOWN if name in known]
    tooltip, texts = [], {}
    for name, after in zip(names, [*names[1:], ""], strict=False):
        title, form = SHOWN[name]
        if not form:
            tooltip.append(alt.Tooltip(f"{name}:N", title=title))
        elif title == "95 % from":
            ends = " + ' to ' + ".join(f"format(datum.{end}, '{form}')" for end in (name, after))
            texts[f"{name} told"] = f"isValid(datum.{name}) ? {ends} : '-'"
            tooltip.append(alt.Tooltip(f"{name} told:N", title="95 % interval"))
        elif cells[name].null_count:
            texts[f"{name} told"] = f"isValid(datum.{name}) ? format(datum.{name}, '{form}') : '-'"
            tooltip.append(alt.Tooltip(f"{name} told:N", title=title))
        elif title != "to":
            tooltip.append(alt.Tooltip(f"{name}:Q", title=title, format=form))
    return (marks.transform_calculate(**texts) if texts else marks).encode(tooltip=tooltip)


def agreement(cells, taken):
    """How well the patches that attention takes agree with true masks, and as many random ones (`kind`).

    A chart with the share of attention along x, titled `taken`: the mean Jaccard index of attention and,
    dashed, of random patches.
    """
    chosen = choice()
    dash = alt.StrokeDash("kind:N", scale=alt.Scale(domain=["attention", "random"], range=[[1, 0], [4, 4]]))
    base = alt.Chart(cells).encode(x=share("level", taken, alt.X), color=colour(cells))
    mean = base.encode(y=share("jaccard", "mean Jaccard index"))
    attended = mean.transform_filter("datum.kind == 'attention'")
    return alt.layer(
        line(mean.encode(strokeDash=dash), chosen), interval(base, chosen), points(attended, cells, chosen)
    )


def panels(chart, cells, title, columns=PANEL_COLUMNS, subtitle=None):
    """A chart once for each panel of its rows. subtitle: lines that tell what was measured, if not
    `sampled`."""
    names = sorted(set(cells["panel"].to_pylist()), key=natural)
    return (
        chart.properties(width=WIDTH * PANEL_COLUMNS // columns, height=HEIGHT * PANEL_COLUMNS // columns)
        .facet(**facets(names, columns))
        .resolve_axis(x="independent")
        .properties(title=alt.Title(title, subtitle=subtitle or sampled(cells)))
    )


def facets(names, columns=PANEL_COLUMNS):
    """The arguments of `facet` for panels in this order, in as many columns as there are, or these."""
    return {"facet": alt.Facet("panel:N", sort=names), "columns": min(columns, max(1, len(names)))}


def rows(chart, cells, title, subtitle=None):
    """A chart that has a row for each model, or whatever it says, once for each panel of its rows. subtitle:
    lines that tell what was measured, if not `sampled`."""
    names = list(dict.fromkeys(cells["panel"].to_pylist()))
    return (
        chart.properties(width=WIDTH, height=alt.Step(ROW_PIXELS, **{"for": "position"}))
        .facet(**facets(names))
        .resolve_axis(x="independent")
        .properties(title=alt.Title(title, subtitle=subtitle or sampled(cells)))
    )


def natural(text):
    """A key that sorts 8x8 before 16x16."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def faded(chosen, opacity, otherwise):
    """The opacity of the models that are chosen in the legend, and of the others."""
    return alt.when(chosen).then(alt.value(opacity)).otherwise(alt.value(otherwise))


def looks(cells, choices):
    """A scale that gives each model of `cells` its own of the choices: the same in every figure."""
    places = dict(zip(cells["model"].to_pylist(), cells["place"].to_pylist(), strict=True))
    models = sorted(places, key=lambda model: places[model])
    return alt.Scale(domain=models, range=[choices[places[model] % len(choices)] for model in models])


def colour(cells):
    scale: Any = looks(cells, COLOURS)
    people = {row["model"] for row in cells.select(["model", "place"]).to_pylist() if row["place"] < 0}
    scale.range = [HUMAN if m in people else c for m, c in zip(scale.domain, scale.range, strict=True)]
    return alt.Color("model:N", scale=scale)


def shape(cells):
    return alt.Shape("model:N", scale=looks(cells, SHAPES))


def sampled(cells):
    """What was measured, a line for each dataset: ['shapes: 1,000 images, 3 seeds']; without seeds where rows
    have none, as nothing is random there."""
    rows = cells.select([n for n in ("dataset", "images", "seeds") if n in cells.column_names]).to_pylist()
    lines = []
    for dataset in sorted({row["dataset"] for row in rows}):
        images = max(row["images"] for row in rows if row["dataset"] == dataset)
        seeds = max(row.get("seeds", 0) for row in rows if row["dataset"] == dataset)
        told = f", {seeds} seed{'s'[: seeds != 1]}" * bool(seeds)
        lines.append(f"{dataset}: {images:,} image{'s'[: images != 1]}{told}")
    return lines


def specification(chart, description):
    """A chart as one Vega-Lite specification with its rows in it (JSON), to six digits and without the
    columns that neither the chart nor its table shows; altair checks that it is valid."""
    spec = chart.properties(description=description).to_dict()
    rows = spec.pop("datasets", {})
    used = set(re.findall(r"\w+", json.dumps(spec | {"description": ""})))
    kept = {name: [lean(row, used) for row in those] for name, those in rows.items()}
    return json.dumps(spec | {"datasets": kept}, indent=1, allow_nan=False)


def lean(row, used):
    """A row without the columns that are not shown, nor among the words that are used, and without needless
    digits."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in row.items()
        if name in SHOWN or name in used
    }
