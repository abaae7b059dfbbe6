"""How far do patches attend? The mean attention distance of every head, block by block.

From left to right the blocks of a network. Upwards, for each head a point: the distance between a patch and
the patches that it attends to, weighted by its attention, in pixels of the model's input, as a mean over the
patches of an image and over the untouched images. Attention to class, shape and register tokens is left out.
The line is the mean over heads. A head that looks at the nearest patches lies low; one that attends to the
whole image alike lies at about half of the image's side (0.52 of it). A panel is a dataset, a colour a model;
a click on a model in the legend lets it stand out. Measured as by Dosovitskiy et al. (2021), in whose
networks the distance grows with depth, and low blocks have heads of both kinds.
"""

import altair as alt

from patchwork import theme

ORDER = 64
FAMILY = "attention"
SQL = """
SELECT
    dataset AS panel, dataset, model, place, block, head, distance_pixels, deviation_pixels,
    avg(distance_pixels) OVER (PARTITION BY dataset, model, block) AS mean_pixels,
    images
FROM attention
JOIN places USING (model)
JOIN (
    SELECT dataset, model, count(DISTINCT image) AS images
    FROM attention
    WHERE kind = 'visible'
    GROUP BY dataset, model
) USING (dataset, model)
WHERE kind = 'distance'
ORDER BY dataset, place, block, head
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base = alt.Chart(cells).encode(
        x=alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0)), color=theme.colour(cells)
    )
    title = "attention distance, pixels"
    layers = [
        base.mark_line().encode(
            y=alt.Y("mean(distance_pixels):Q", title=title), opacity=theme.faded(chosen, 1, 0.12)
        ),
        base.mark_point(opacity=1)
        .encode(
            y=alt.Y("distance_pixels:Q", title=title, scale=alt.Scale(zero=True)),
            shape=theme.shape(cells),
            opacity=theme.faded(chosen, 0.7, 0.08),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("block:O"),
                alt.Tooltip("head:O"),
                alt.Tooltip("distance_pixels:Q", title="mean distance, pixels", format=".1f"),
                alt.Tooltip("deviation_pixels:Q", title="standard deviation, pixels", format=".1f"),
                alt.Tooltip("mean_pixels:Q", title="mean over heads, pixels", format=".1f"),
                alt.Tooltip("images:Q", format=","),
            ],
        )
        .add_params(chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Attention distance")
