"""How far do patches attend? The mean attention distance of every head, block by block.

From left to right the blocks of a network. Upwards, for each head a point: the distance between a patch and
the patches that it attends to, weighted by its attention, in pixels of the model's input, as a mean over the
patches of an image and over the untouched images. Attention to class, shape and register tokens is left out.
The line is the mean over heads. A head that looks at the nearest patches lies low; one that attends to the
whole image alike lies at about half of the image's side (0.52 of it). A panel is a dataset, a colour a model;
a click on a model in the legend lets it stand out. Measured as by Dosovitskiy et al. (2021), in whose
networks the distance grows with depth, and low blocks have heads of both kinds. The tooltip and the table
give 95 % intervals of the means over images (normal approximation).
"""

import altair as alt

from patchwork import theme

ORDER = 64
FAMILY = "attention"
SQL = """
SELECT
    dataset AS panel, dataset, model, place, block, head, distance_pixels, deviation_pixels,
    distance_pixels - 1.959963984540054 * deviation_pixels / sqrt(images) AS distance_low,
    distance_pixels + 1.959963984540054 * deviation_pixels / sqrt(images) AS distance_high,
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
    chosen, title = theme.choice(), "attention distance, pixels"
    base = alt.Chart(cells).encode(x=theme.blocks(), color=theme.colour(cells))
    each = alt.Y("distance_pixels:Q", title=title, scale=alt.Scale(zero=True))
    layers = [
        theme.line(base.encode(y=alt.Y("mean(distance_pixels):Q", title=title)), chosen),
        theme.points(base.encode(y=each), cells, chosen, 0.7),
    ]
    return theme.panels(alt.layer(*layers), cells, "Attention distance")
