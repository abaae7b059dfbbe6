"""What can be read from images: answers for the shape and for the texture, before and after stylizing.

From left to right, the share of images that a model takes for the class of their shape, or for the class
that their texture stands for; the two disagree in all of these images. The dashed line is chance, what
guessing would score for either. A row is a model, a panel a dataset. Stylizing is to leave the shape and to
take the texture away: then, on stylized images, answers for the texture are at chance for every model, even
for those that go by texture on the images before, and answers for the shape are above it for models trained
on stylized images. Bars are 95 % Wilson intervals over images.
"""

import altair as alt

from patchwork import theme

ORDER = 62
FAMILY = "clean"
SQL = """
SELECT
    dataset || CASE WHEN of_stylized_images THEN ' (stylized)' ELSE '' END AS panel,
    dataset, model, place, answer, answered, low, high, images, chance
FROM (
    SELECT *, 'shape' AS answer, top1 AS answered, top1_low AS low, top1_high AS high
    FROM (SELECT * EXCLUDE (low, high) FROM shape_bias)
    UNION ALL BY NAME
    SELECT *, 'texture' AS answer, texture_share AS answered, texture_low AS low, texture_high AS high
    FROM (SELECT * EXCLUDE (low, high) FROM shape_bias)
)
ORDER BY of_stylized_images, dataset, place, answer
"""
ANSWERS = ["shape", "texture"]


def chart(cells):
    rows = list(dict.fromkeys(cells.sort_by("place")["model"].to_pylist()))
    chosen, title = theme.choice("answer"), "share of images"
    base = alt.Chart(cells).encode(
        y=alt.Y("model:N", sort=rows, title=None, axis=alt.Axis(labelLimit=220)),
        yOffset=alt.YOffset("answer:N", sort=ANSWERS),
        color=alt.Color("answer:N", scale=alt.Scale(domain=ANSWERS, range=theme.COLOURS[:2])),
    )
    points = base.mark_point(opacity=1).encode(
        x=theme.share("answered", title, alt.X),
        shape=alt.Shape("answer:N", scale=alt.Scale(domain=ANSWERS, range=theme.SHAPES[:2])),
        opacity=theme.faded(chosen, 1, 0.12),
    )
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x="mean(chance):Q"),
        theme.interval(base, chosen, channel=alt.X, title=title),
        theme.told(points, cells).add_params(chosen),
    ]
    return theme.rows(alt.layer(*layers), cells, "Answers for shape and for texture")
