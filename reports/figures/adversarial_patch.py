"""Top-1 accuracy under adversarial patches that were crafted on the model itself.

From left to right, the share of the image that the patch covers; upwards, the share of images whose class
the model ranks first, as a mean over the seeds. Each seed has a patch of its own, crafted on other images
than these to be wrong wherever it lies (a white-box, untargeted, universal attack). A line is a model. A
panel is a dataset and where patches lie: at any place and angle, or aligned to the tokens of the model (to
14x14 tiles if it has none) and turned by quarters. Upright bars are 95 % Wilson intervals over images; the
pale band around a line is one standard deviation over seeds, and so over patches, to either side, where
there are several. The dashed line is chance: what always naming the most frequent class would score. A
patch also hides what it lies on: panels of noise, where it was asked for, show what a disc of random pixels
costs at the same places. A click on a model in the legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 70
FAMILY = "patch"
SQL = """
SELECT *, concat_ws(' · ', dataset, lies, CASE WHEN NOT white_box THEN 'noise' END) AS panel
FROM patch_transfer
WHERE white_box OR crafted_on = '(noise)'
ORDER BY dataset, perturbation, place, level
"""


def chart(cells):
    axis = alt.Axis(format="%", tickCount=5)
    x = alt.X("level:Q", title="share of the image covered by the patch", axis=axis)
    return theme.curves(cells, "Accuracy and the size of an adversarial patch", x)
