"""Top-1 accuracy against the true share of pixels that were blacked out, a line per model and a panel per
dataset and grid. Points are means over images and seeds. Vertical bars are 95 % Wilson intervals over the
images; short horizontal ticks are one standard deviation over seeds up and down; the dotted line is chance.
Choose models in the legend; hover for numbers, among them how many images and seeds."""

import altair as alt

from patchwork import theme

FAMILY = "occlusion"  # drawn if the config asks for a perturbation of this family
SQL = "FROM curves WHERE family = 'occlusion'"


def chart(cells):
    return theme.curves(cells, alt.X("lost:Q", title="pixels lost", scale=alt.Scale(domain=[0, 1])).axis(format="%"))
