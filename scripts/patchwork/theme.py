"""How every chart looks, so that no figure chooses a font, a size or a colour."""

import json
import re
from typing import Any

import altair as alt

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
            "chance": {"color": PALE, "strokeDash": [4, 4], "strokeWidth": 1},
            "chance-label": {"color": PALE, "fontSize": 11, "align": "left", "dy": -6, "dx": 2},
        },
    }
    return alt.theme.ThemeConfig(config=config)


def curves(cells, title, x, tooltip=(), columns=PANEL_COLUMNS):
    """Top-1 against `x`: a line for each model, a panel for each dataset and variant.

    cells: rows of the mart `accuracy`. title: of the chart. x: an altair X. tooltip: what the chart's
    tooltip tells beside what every tooltip does. columns: of panels; the more, the smaller they are.
    """
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base: Any = alt.Chart(cells).encode(x=x, color=colour(cells))
    # A field that rows lack would be told as NaN.
    compared = [alt.Tooltip("difference:Q", title="to the reference", format="+.1%")]
    compared *= "difference" in cells.column_names
    y = alt.Y("top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    spread = base.transform_filter("isValid(datum.seed_spread)").transform_calculate(
        below="datum.top1 - datum.seed_spread", above="datum.top1 + datum.seed_spread"
    )
    chance: Any = alt.Chart(cells).encode(y="mean(chance):Q")
    layers = [
        chance.mark_rule(style="chance"),
        chance.mark_text(style="chance-label", text="chance").encode(x=alt.value(0)),
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        base.mark_line().encode(y=y, opacity=faded(chosen, 1, 0.12)),
        spread.mark_area(style="spread", clip=True).encode(
            y="below:Q", y2="above:Q", opacity=faded(chosen, 0.25, 0.03), detail="model:N"
        ),
        base.mark_rule(style="interval").encode(y="low:Q", y2="high:Q", opacity=faded(chosen, 0.6, 0.05)),
        base.mark_point(opacity=1)
        .transform_calculate(interval="format(datum.low, '.1%') + ' to ' + format(datum.high, '.1%')")
        .encode(
            y=y,
            shape=shape(cells),
            opacity=faded(chosen, 1, 0.12),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("model_family:N", title="family"),
                alt.Tooltip("panel:N", title="shown"),
                alt.Tooltip("level:Q"),
                *tooltip,
                alt.Tooltip("top1:Q", title="top-1", format=".1%"),
                alt.Tooltip("interval:N", title="95 % interval"),
                alt.Tooltip("seed_spread:Q", title="spread over seeds", format=".2%"),
                *compared,
                alt.Tooltip("images:Q", format=","),
                alt.Tooltip("seeds:Q"),
            ],
        )
        .add_params(chosen),
    ]
    return panels(alt.layer(*layers), cells, title, columns)


def agreement(cells, taken):
    """How well the patches that attention takes agree with true masks, and as many random ones (`kind`).

    What a figure of it is drawn with: a chart with the share of attention along x, titled `taken`, in the
    colours of the models; the Y of the mean Jaccard index; the dashes of random patches.
    """
    shares = alt.Scale(domain=[0, 1])
    x = alt.X("level:Q", title=taken, scale=shares, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("jaccard:Q", title="mean Jaccard index", scale=shares, axis=alt.Axis(format="%"))
    dash = alt.StrokeDash("kind:N", scale=alt.Scale(domain=["attention", "random"], range=[[1, 0], [4, 4]]))
    return alt.Chart(cells).encode(x=x, color=colour(cells)), y, dash


def panels(chart, cells, title, columns=PANEL_COLUMNS):
    """A chart once for each panel of its rows."""
    names = sorted(set(cells["panel"].to_pylist()), key=natural)
    return (
        chart.properties(width=WIDTH * PANEL_COLUMNS // columns, height=HEIGHT * PANEL_COLUMNS // columns)
        .facet(**facets(names, columns))
        .resolve_axis(x="independent")
        .properties(title=alt.Title(title, subtitle=sampled(cells)))
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
    """A chart as one Vega-Lite specification with its rows in it (JSON); altair checks that it is valid."""
    return json.dumps(chart.properties(description=description).to_dict(), indent=1, allow_nan=False)
