"""How much attention is the object? The Jaccard index by the share of the attention that is taken.

From left to right, the share of the attention of a token in the last block, in the mean over its heads, that
the patches which are taken for the object hold at least; upwards, the Jaccard index (intersection over union,
in pixels) of these patches and each class in an image, as a mean over its classes and then over the images.
Void pixels count for nothing, images are squashed into a square. The authors take 90 %. A colour is a model,
whose dashed line is the same for as many random patches. A panel is a dataset and a token; a click on a model
in the legend lets it stand out. Upright bars are 95 % intervals of the mean over images (normal
approximation).
"""

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
    return theme.panels(theme.agreement(cells, "attention taken"), cells, "Attention taken and true masks")
