"""How much attention is the object? The Jaccard index by the share of the attention that is taken.

From left to right, the share of the attention of a token in the last block, in the mean over its heads, that
the patches which are taken for the object hold at least; upwards, the Jaccard index (intersection over union,
in pixels) of these patches and each class in an image, as a mean over its classes and then over the images.
Void pixels count for nothing, images are squashed into a square. The authors take 90 %. A colour is a model,
whose dashed line is the same for as many random patches. A panel is a dataset and a token; a click on a model
in the legend lets it stand out. Upright bars are 95 % intervals of the mean over images (normal
approximation).
"""

import altair as alt

from patchwork import theme

ORDER = 68
FAMILY = "segmentation"
SQL = """
WITH scores AS (
    UNPIVOT (
        SELECT dataset, model, token, level, image, avg(jaccard) AS attention, avg(random) AS random
        FROM segmentation
        WHERE head = -1 AND aspect <> 'kept'
        GROUP BY ALL
    )
    ON attention, random INTO NAME kind VALUE score
)
SELECT
    dataset || ' · ' || token || ' token' AS panel, dataset, model, place, token, kind,
    round(level::DOUBLE, 6) AS level,
    avg(score) AS jaccard,
    share_low(score) AS low,
    share_high(score) AS high,
    count(*) AS images
FROM scores
JOIN places USING (model)
GROUP BY dataset, model, place, token, kind, level
ORDER BY panel, place, kind, level
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base, mean, dash = theme.agreement(cells, "attention taken")
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("token:N"),
        alt.Tooltip("kind:N", title="patches"),
        alt.Tooltip("level:Q", title="attention taken", format=".0%"),
        alt.Tooltip("jaccard:Q", title="mean Jaccard index", format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("images:Q", format=","),
    ]
    layers = [
        base.mark_line().encode(y=mean, strokeDash=dash, opacity=theme.faded(chosen, 1, 0.12)),
        base.mark_rule(style="interval").encode(
            y="low:Q", y2="high:Q", opacity=theme.faded(chosen, 0.6, 0.05)
        ),
        base.transform_filter("datum.kind == 'attention'")
        .mark_point(opacity=1)
        .encode(y=mean, shape=theme.shape(cells), opacity=theme.faded(chosen, 1, 0.12), tooltip=tooltip)
        .add_params(chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Attention taken and true masks")
