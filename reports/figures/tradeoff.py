"""What shape bias costs: accuracy on natural images against shape bias.

From left to right, top-1 accuracy on held-out natural images, where shape and texture agree; upwards, the
shape bias where they disagree. A mark is a model. A panel names the dataset of disagreeing images and that
of the natural ones: of those with the same classes, or with the classes that its categories are made of, the
one that most of the same models were evaluated on. Bars are 95 % Wilson intervals over images. Colours and
forms are those of the models in every figure; a click on a model in the legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 61
FAMILY = "clean"
SQL = """
SELECT
    dataset || ' · ' || natural_images AS panel, dataset, model, place,
    coalesce(trained_on, 'not trained here') AS trained_on,
    natural_top1, natural_low, natural_high, shape_bias, low, high, decided, images
FROM tradeoff
WHERE decided > 0 AND natural_top1 IS NOT NULL
ORDER BY panel, place
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    titles = "top-1 on natural images", "shape bias"
    shares = [alt.Scale(domain=[0, 1]), alt.Axis(format="%", tickCount=5)]
    x, y = (
        channel(f"{name}:Q", title=title, scale=shares[0], axis=shares[1])
        for channel, name, title in [(alt.X, "natural_top1", titles[0]), (alt.Y, "shape_bias", titles[1])]
    )
    base = alt.Chart(cells).encode(color=theme.colour(cells))
    opacity = theme.faded(chosen, 0.6, 0.05)
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("trained_on:N", title="trained on"),
        alt.Tooltip("natural_top1:Q", title=titles[0], format=".1%"),
        alt.Tooltip("shape_bias:Q", title="shape bias", format=".1%"),
        alt.Tooltip("decided:Q", title="decided images", format=","),
    ]
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(y=alt.datum(0.5)),
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        base.mark_point(opacity=1, size=80)
        .encode(x=x, y=y, shape=theme.shape(cells), opacity=theme.faded(chosen, 1, 0.12), tooltip=tooltip)
        .add_params(chosen),
        base.mark_rule(style="interval").encode(x=x, y="low:Q", y2="high:Q", opacity=opacity),
        base.mark_rule(style="interval").encode(x="natural_low:Q", x2="natural_high:Q", y=y, opacity=opacity),
    ]
    return theme.panels(alt.layer(*layers), cells, "Accuracy and shape bias")
