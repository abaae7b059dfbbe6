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
    chosen = theme.choice()
    x = theme.share("natural_top1", "top-1 on natural images", alt.X)
    y = theme.share("shape_bias", "shape bias")
    base = alt.Chart(cells).encode(color=theme.colour(cells))
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(y=alt.datum(0.5)),
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        theme.points(base.encode(x=x, y=y), cells, chosen, size=80),
        theme.interval(base.encode(x=x), chosen),
        theme.interval(base.encode(y=y), chosen, "natural_low", "natural_high", alt.X),
    ]
    return theme.panels(alt.layer(*layers), cells, "Accuracy and shape bias")
