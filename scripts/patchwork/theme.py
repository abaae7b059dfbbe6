"""How every chart looks, and the curves that most of them are, so that no figure chooses for itself."""

import altair as alt

# Okabe and Ito's colours, which the colour-blind can tell apart, without yellow and black; then three more.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A5195", "#8C564B", "#5C6B73"]


@alt.theme.register("patchwork", enable=True)
def theme():
    return alt.theme.ThemeConfig(
        {
            "config": {
                "background": "transparent",
                "font": "system-ui, sans-serif",
                "view": {"stroke": None, "continuousWidth": 320, "continuousHeight": 240, "step": 34},
                "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.35},
                "header": {"labelFontSize": 13, "labelFontWeight": "bold", "title": None},
                "legend": {"labelFontSize": 12, "titleFontSize": 12, "orient": "top", "title": None},
                "point": {"size": 40, "filled": True},
            }
        }
    )


def colour(cells):
    """The colour of each model, the same in every chart of a report. cells: with `model` and `model_number`."""
    numbers = dict(sorted(zip(cells["model"].to_pylist(), cells["model_number"].to_pylist(), strict=True)))
    models = sorted(numbers, key=numbers.get)
    scale = alt.Scale(domain=models, range=[COLOURS[(numbers[model] - 1) % len(COLOURS)] for model in models])
    return alt.Color("model:N", scale=scale)


def curves(cells, x):
    """Top-1 against x, a line per model with its 95 % intervals and its spread over seeds, a panel per strip.

    cells: an arrow table with the columns of `accuracy`, panel, model_number, seed_low and seed_high.
    """
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base = alt.Chart(cells).encode(
        x=x,
        color=colour(cells),
        opacity=alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("level:Q"),
            alt.Tooltip("lost:Q", format=".1%", title="pixels lost"),
            alt.Tooltip("top1:Q", format=".1%", title="top-1"),
            alt.Tooltip("low:Q", format=".1%", title="95 % from"),
            alt.Tooltip("high:Q", format=".1%", title="95 % to"),
            alt.Tooltip("relative_top1:Q", format=".1%", title="of clean top-1"),
            alt.Tooltip("seed_spread:Q", format=".2%", title="sd over seeds"),
            alt.Tooltip("images:Q"),
            alt.Tooltip("seeds:Q"),
        ],
    )
    top1 = alt.Y("top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1])).axis(format="%")
    chance = alt.Chart(cells).mark_rule(strokeDash=[2, 3], opacity=0.6).encode(y="mean(chance):Q")
    layers = [
        chance,
        base.mark_line().encode(y=top1),
        base.mark_rule().encode(y="low:Q", y2="high:Q"),
        base.mark_tick(thickness=2, size=9, orient="horizontal").encode(y="seed_low:Q"),
        base.mark_tick(thickness=2, size=9, orient="horizontal").encode(y="seed_high:Q"),
        base.mark_point().encode(y=top1).add_params(chosen),
    ]
    return alt.layer(*layers).facet(alt.Facet("panel:N", title=None), columns=2)
