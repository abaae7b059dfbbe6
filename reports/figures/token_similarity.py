"""Are the class token and the shape token two tokens? Their cosine, block by block.

From left to right the blocks of a network, upwards the cosine of its class token and its shape (or
distillation) token in the same image: at 1 both say the same, at 0 they have nothing in common. The line is
the mean over the images, the band holds the middle 90 % of them. Solid: tokens after the last layer norm of
the network, as its heads see them; dashed: as they leave the block. A panel is a dataset, a colour a model; a
click on a model in the legend lets it stand out. The paper tells means of 0.35 (DeiT-T) and 0.68 (DeiT-S) on
ImageNet for tokens that a network trained on stylized images has taught, and 0.96 and 0.94 for DeiT's own; it
does not tell of which block. Where the config says that models and images are these, a hollow mark shows it
at the last block. The tooltip and the table give 95 % intervals of the means over images (normal
approximation).
"""

import altair as alt

from patchwork import theme

ORDER = 62
FAMILY = "token_similarity"
SQL = """
WITH cosines AS (
    UNPIVOT (
        SELECT dataset, model, block, image, cosine AS "after the norm", cosine_before_norm AS "before it"
        FROM token_similarity
    )
    ON "after the norm", "before it" INTO NAME tokens VALUE cosine
)
SELECT
    dataset AS panel, dataset, model, place, block, tokens,
    avg(cosine) AS cosine,
    avg(cosine) - mean_margin(cosine) AS cosine_low,
    avg(cosine) + mean_margin(cosine) AS cosine_high,
    stddev_samp(cosine) AS deviation,
    quantile_cont(cosine, 0.05) AS lowest,
    quantile_cont(cosine, 0.95) AS highest,
    CASE
        WHEN tokens = 'after the norm' AND block = max(block) OVER (PARTITION BY dataset, model)
        THEN any_value(published)
    END AS published_number,
    count(*) AS images
FROM cosines
JOIN places USING (model)
LEFT JOIN (
    SELECT dataset, model, published FROM published_here WHERE experiment = 'token_cosine_similarity'
) USING (dataset, model)
GROUP BY dataset, model, place, block, tokens
ORDER BY dataset, place, tokens, block
"""


def chart(cells):
    chosen = theme.choice()
    base = alt.Chart(cells).encode(x=theme.blocks(), color=theme.colour(cells))
    cosine = base.encode(y=alt.Y("cosine:Q", title="cosine of class and shape token"))
    dashes = alt.Scale(domain=["after the norm", "before it"], range=[[1, 0], [4, 4]])
    layers = [
        theme.line(cosine.encode(strokeDash=alt.StrokeDash("tokens:N", scale=dashes)), chosen),
        base.transform_filter("datum.tokens == 'after the norm'")
        .mark_area(style="spread")
        .encode(y="lowest:Q", y2="highest:Q", opacity=theme.faded(chosen, 0.15, 0.03)),
        *theme.published(base, cells, chosen, "published_number"),
        theme.points(cosine, cells, chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Class token and shape token")
