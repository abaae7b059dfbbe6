"""Is the foreground the object? Salient patches and true masks.

From left to right, the share of the attention of the class token that the foreground holds at least: of all
sets of patches that do, the smallest. Upwards, the Jaccard index (intersection over union) of that foreground
and the true mask of the object, counted in pixels, as a mean over the images that have a mask. A colour is
the network whose attention it is. Its dashed line is the same for as many patches of the image chosen at
random: only what is above that has been found by attention. Patches are coarser than masks, so even the best
choice of patches would not reach 100 %. A panel is a dataset.
Upright bars are 95 % intervals of the mean over images (normal approximation).
"""

import altair as alt

from patchwork import theme

ORDER = 13
FAMILY = "saliency"
SQL = """
WITH scores AS (
    UNPIVOT (SELECT dataset, model, level, image, jaccard AS attention, random FROM foreground)
    ON attention, random INTO NAME kind VALUE score
)
SELECT
    dataset AS panel,
    model,
    place,
    kind,
    round(level::DOUBLE, 6) AS level,
    avg(score) AS jaccard,
    share_low(score) AS low,
    share_high(score) AS high,
    count(*) AS images
FROM scores
JOIN places USING (model)
GROUP BY dataset, model, place, kind, level
ORDER BY panel, place, kind, level
"""


def chart(cells):
    base, mean, dash = theme.agreement(cells, "attention in the foreground")
    tooltip = [
        alt.Tooltip("model:N", title="attention of"),
        alt.Tooltip("kind:N", title="patches"),
        alt.Tooltip("level:Q", title="attention in them", format=".0%"),
        alt.Tooltip("jaccard:Q", title="mean Jaccard index", format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("images:Q", format=","),
    ]
    layers = [
        base.mark_line().encode(y=mean, strokeDash=dash),
        base.mark_rule(style="interval").encode(y="low:Q", y2="high:Q"),
        base.mark_point(opacity=1).encode(y=mean, shape=theme.shape(cells), tooltip=tooltip),
    ]
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    images = {row["panel"]: row["images"] for row in cells.to_pylist()}
    return (
        alt.layer(*layers)
        .properties(width=theme.WIDTH, height=theme.HEIGHT)
        .facet(**theme.facets(panels))
        .resolve_axis(x="independent")
        .properties(
            title=alt.Title(
                "Foreground and true masks",
                subtitle=[f"{panel}: {images[panel]:,} images with a mask" for panel in panels]
                or ["no dataset has masks"],
            )
        )
    )
