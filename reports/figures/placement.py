"""Top-1 accuracy when the whole image is shrunk into one corner of a black canvas.

From left to right, the image as it is, then the four corners, in which it has four sevenths of its side (128
of 224 pixels, as in Table 8 of the paper; rounded down to a multiple of 8 pixels). A model whose class token
attends to where the picture is loses little. A line joins the points of a model only to show which belong
together. Upright bars are 95 % Wilson intervals over images. The dashed line is chance.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 40
FAMILY = "placement"
CORNERS = ["whole image", "top right", "top left", "bottom right", "bottom left"]
SQL = f"""
SELECT *, {CORNERS}[level::INT + 1] AS corner
FROM accuracy
WHERE family = 'placement'
ORDER BY panel, place, level
"""


def chart(cells):
    x = alt.X("corner:N", title=None, sort=CORNERS, axis=alt.Axis(labelAngle=0))
    return theme.curves(cells, "Accuracy and the place of a small image", x)
