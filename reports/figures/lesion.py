"""Top-1 accuracy when features are taken away inside the network, before one block or stage.

From left to right, the block of a vision transformer or the stage of a CNN that loses features as they enter
it, counted from the input ("none" is the network as it is; the last place of a CNN is where features leave
its last stage). A panel is a dataset and what is done: "zero, 50 %" sets half of the patch tokens, or of the
places of the feature map, to zero; "mask, 50 %" hides half of the patch tokens from the attention of the
block, which CNNs do not have. Blocks of different networks do not stand for the same depth. A line is a
model. Upright bars are 95 % Wilson intervals over images; the pale band around a line is one standard
deviation over seeds to either side, where there are several. The dashed line is chance.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 30
FAMILY = "lesion"
SQL = "FROM accuracy WHERE family = 'lesion' ORDER BY panel, place, level"


def chart(cells):
    none = "datum.value == 0 ? 'none' : datum.label"
    x = alt.X("level:O", title="block or stage", axis=alt.Axis(labelAngle=0, labelExpr=none))
    return theme.curves(cells, "Accuracy without some features", x)
