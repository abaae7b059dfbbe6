"""Top-1 accuracy as the grid of dropped patches moves off the grid of the tokens.

From left to right, how far the masks are shifted right and down, in sixteenths of a tile; "none" is the
untouched image. Every offset loses the same number of pixels, since the masks wrap around; what changes is
how many tokens of a vision transformer are cut (see the next figure). A panel is a dataset, the grid and the
percentage of its tiles that are dropped. A line is a model. Upright bars are 95 % Wilson intervals over
images; the pale band around a line is one standard deviation over seeds to either side, where there are
several. The dashed line is chance: what always naming the most frequent class would score.
"""

import altair as alt

from patchwork import theme

ORDER = 14
FAMILY = "offset"
SQL = "FROM accuracy WHERE family = 'offset' ORDER BY panel, place, level"


def chart(cells):
    none = "datum.value < 0 ? 'none' : datum.label"
    x = alt.X("level:O", title="offset, sixteenths of a tile", axis=alt.Axis(labelAngle=0, labelExpr=none))
    return theme.curves(cells, "Accuracy and the offset of the masks", x)
