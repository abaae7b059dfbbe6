"""Are the class token and the shape token two tokens? Their cosine, block by block.

From left to right the blocks of a network, upwards the cosine of its class token and its shape (or
distillation) token in the same image: at 1 both say the same, at 0 they have nothing in common. The line is
the mean over the images, the band holds the middle 90 % of them. Solid: tokens after the last layer norm of
the network, as its heads see them; dashed: as they leave the block. A panel is a dataset, a colour a model; a
click on a model in the legend lets it stand out. The paper tells means of 0.35 (DeiT-T) and 0.68 (DeiT-S) on
ImageNet for tokens that a network trained on stylized images has taught, and 0.96 and 0.94 for DeiT's own; it
does not tell of which block.
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
    stddev_samp(cosine) AS deviation,
    quantile_cont(cosine, 0.05) AS lowest,
    quantile_cont(cosine, 0.95) AS highest,
    count(*) AS images
FROM cosines
JOIN places USING (model)
GROUP BY dataset, model, place, block, tokens
ORDER BY dataset, place, tokens, block
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base = alt.Chart(cells).encode(
        x=alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0)), color=theme.colour(cells)
    )
    cosine = alt.Y("cosine:Q", title="cosine of class and shape token")
    layers = [
        base.mark_line().encode(
            y=cosine,
            strokeDash=alt.StrokeDash(
                "tokens:N", scale=alt.Scale(domain=["after the norm", "before it"], range=[[1, 0], [4, 4]])
            ),
            opacity=theme.faded(chosen, 1, 0.12),
        ),
        base.transform_filter("datum.tokens == 'after the norm'")
        .mark_area(style="spread")
        .encode(y="lowest:Q", y2="highest:Q", opacity=theme.faded(chosen, 0.15, 0.03)),
        base.mark_point(opacity=1)
        .encode(
            y=cosine,
            shape=theme.shape(cells),
            opacity=theme.faded(chosen, 1, 0.12),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("tokens:N"),
                alt.Tooltip("block:O"),
                alt.Tooltip("cosine:Q", title="mean cosine", format=".2f"),
                alt.Tooltip("deviation:Q", title="standard deviation", format=".2f"),
                alt.Tooltip("lowest:Q", title="5 % of images below", format=".2f"),
                alt.Tooltip("highest:Q", title="95 % below", format=".2f"),
                alt.Tooltip("images:Q", format=","),
            ],
        )
        .add_params(chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Class token and shape token")
