"""APGD-CE: Auto-PGD on the cross-entropy, the first attack of AutoAttack.

Source: Croce and Hein 2020. A hundred steps with momentum from a random start; the size of the steps adapts
to each image. As in AutoAttack, images that the model gets wrong anyway are not attacked, and an image that
withstands all steps stays as it is; of any other the last misclassified image met is taken. A level is the
bound in 1/255, in the maximum norm. It takes twenty times as long as `pgd`: meant for a dataset of few
`images`. Gradients are in float32, whatever `compute.dtype` says.
"""

from patchwork import attacks

FAMILY = "adversarial"
AXIS = "bound in 1/255 (l-inf)"
LEVELS = [0, 1, 2, 4, 8]
RANGE = [0, 255]
SETTINGS = {"steps": 100}
GRADIENTS = ["steps"]
MODEL = True
SHOWS = "Left: half of the attacked image. Right: how the other half was changed, 16-fold around grey."
NOISE = "values"


def apply(model, images, labels, level, noise, steps):
    """The attacked images: float32 [N, 3, H, W] in [0, 1]."""
    how = {"steps": steps, "noise": noise}
    return attacks.attacked(attacks.apgd_ce, model, images, labels, level, __name__, **how)


def shown(model, images, labels, level, noise, steps):
    """Half of the attacked image, and the amplified change of the other half."""
    return attacks.halves(images, apply(model, images, labels, level, noise, steps))
