"""Top-1 accuracy against the number of tiles into which an image was cut and shuffled, a line per model and
a panel per dataset. One tile is the untouched image. Points are means over images and seeds. Vertical bars
are 95 % Wilson intervals over the images; short horizontal ticks are one standard deviation over seeds up
and down; the dotted line is chance. Choose models in the legend; hover for numbers."""

import altair as alt

from patchwork import theme

FAMILY = "permutation"  # drawn if the config asks for a perturbation of this family
SQL = "FROM curves WHERE family = 'permutation'"


def chart(cells):
    return theme.curves(cells, alt.X("level:O", title="tiles shuffled").axis(format="d", labelAngle=0))
