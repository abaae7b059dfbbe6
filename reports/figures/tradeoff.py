"""What shape bias costs: accuracy on natural images against shape bias.

From left to right, top-1 accuracy on held-out natural images, where shape and texture agree; upwards, the
shape bias where they disagree. A mark is a model. A panel names the dataset of disagreeing images and that
of the natural ones: of those with the same classes, the one that most models were evaluated on. Bars are 95
% Wilson intervals over images. Colours and forms are those of the models in every figure; a click on a
model in the legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 61
FAMILY = "clean"
SQL = """
WITH
    classes AS (
        SELECT
            dataset,
            list(DISTINCT class_name ORDER BY class_name) AS names,
            bool_or(texture_class IS DISTINCT FROM class_name AND texture_class IS NOT NULL) AS disagree
        FROM images
        WHERE image IS NOT NULL
        GROUP BY dataset
    ),
    agreeing AS (
        FROM classes
        WHERE NOT disagree AND NOT EXISTS (FROM stylized WHERE stylized.dataset = classes.dataset)
    ),
    pairs AS (
        SELECT conflict.dataset, arg_max(agreeing.dataset, (seen, images)) AS natural_images
        FROM classes AS conflict
        JOIN agreeing USING (names)
        JOIN (SELECT dataset, count(*) AS seen, max(images) AS images FROM models GROUP BY dataset) AS m
            ON m.dataset = agreeing.dataset
        GROUP BY conflict.dataset
    )
SELECT
    s.dataset || ' · ' || natural_images AS panel, s.dataset, s.model, place,
    coalesce(trained_on, 'not trained here') AS trained_on, shape_bias, s.low, s.high, decided, s.images,
    m.top1 AS natural_top1, m.low AS natural_low, m.high AS natural_high
FROM shape_bias AS s
JOIN pairs USING (dataset)
JOIN models AS m ON m.dataset = natural_images AND m.model = s.model
WHERE NOT of_stylized_images AND decided > 0
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
