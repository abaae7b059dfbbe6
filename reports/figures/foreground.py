"""Is the foreground the object? Salient patches and true masks.

From left to right, the share of the attention of the class token that the foreground holds at least: of all
sets of patches that do, the smallest. Upwards, the Jaccard index (intersection over union) of that foreground
and the true mask of the object, counted in pixels, as a mean over the images that have a mask. A colour is
the network whose attention it is. Its dashed line is the same for as many patches of the image chosen at
random: only what is above that has been found by attention. Patches are coarser than masks, so even the best
choice of patches would not reach 100 %. A panel is a dataset.
Upright bars are 95 % intervals of the mean over images (normal approximation).
"""

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
    images = {row["panel"]: row["images"] for row in cells.to_pylist()}
    about = [f"{panel}: {images[panel]:,} images with a mask" for panel in images] or ["no dataset has masks"]
    chart = theme.agreement(cells, "attention in the foreground")
    return theme.panels(chart, cells, "Foreground and true masks", subtitle=about)
