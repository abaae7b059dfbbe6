"""Top-1 accuracy under attacks that are made for each image and model.

From left to right, the bound of an attack: by how much it may change any value of an image, in 1/255 of the
range from black to white; upwards, the share of images whose class the model still ranks first, as a mean
over the seeds. A line is a model; a panel is a dataset and, where there are several, the attack. FGSM takes
one step; PGD five, from the image itself or from a random start; APGD, the adaptive attacks that AutoAttack
begins with, a hundred (all but the first as long as the config sets no other number). Every attack knows the
model that it is made for, its weights and the true label.

An attack that fails proves nothing: a stronger one may succeed. So accuracy under an attack is only an upper
limit of what a model withstands, the looser the weaker the attack, and models that differ under FGSM alone
may be equally easy to mislead. Under FGSM accuracy can even rise with the bound: its one step then goes too
far.

Upright bars are 95 % Wilson intervals over images; the pale band around a line is one standard deviation over
seeds to either side, where there are several. The dashed line is chance: what always naming the most frequent
class would score; an attack can go below it. The numbers of images and seeds are under the title. A click on
a model in the legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 60
FAMILY = "adversarial"
SQL = "FROM accuracy WHERE family = 'adversarial' ORDER BY panel, place, level"


def chart(cells):
    return theme.curves(
        cells, "Accuracy under attack", alt.X("level:Q", title="largest change of a value, in 1/255")
    )
