"""Top-1 accuracy as salient and as non-salient patches of the images are blacked out.

From left to right, the share of an image's pixels that is lost, as a mean over the images; upwards, the share
of images whose class the model ranks first. A line is a model. A panel is a dataset and what is dropped
first: `salient drop` the patches that hold most attention of the class token of another model (the
foreground), `nonsalient drop` those that hold least (the background); for comparison, `random drop` on the
same grid, where the studies ask for it, as a mean over the seeds. At every level all three lose the same
number of patches; salient ones lie together, though, while random ones are scattered and cut more of what
stays. Upright bars are 95 % Wilson intervals over images; the pale band around a line of random
drop is one standard deviation over seeds to either side. The dashed line is chance: what always naming the
most frequent class would score. The numbers of images and seeds are under the title. A click on a model in
the legend lets it stand out.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's; with its masks it tells of shares of attention alone, in the next figure.
"""

import altair as alt

from patchwork import theme

ORDER = 11
FAMILY = "saliency"
SQL = """
SELECT * REPLACE (concat_ws(' · ', dataset, replace(perturbation, '_', ' ')) AS panel)
FROM accuracy
WHERE
    (family = 'saliency' AND variant = 'area')
    OR (
        perturbation = 'random_drop'
        AND variant = (SELECT grid FROM saliency)
        AND (dataset, model) IN (SELECT (dataset, model) FROM accuracy WHERE family = 'saliency')
    )
ORDER BY panel, place, level
"""


def chart(cells):
    return theme.curves(
        cells, "Salient and non-salient pixels lost", theme.share("lost", "pixels lost", alt.X)
    )
