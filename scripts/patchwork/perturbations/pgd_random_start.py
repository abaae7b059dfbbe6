"""PGD from a random start: projected gradient descent that begins at a random place within the bound.

Source: Madry et al. 2018. As `pgd`, but every value of the image first moves by a uniform random part of the
bound, another one for each image and seed, because the gradient at the image itself may mislead. A level is
the bound in 1/255, in the maximum norm. Gradients are in float32, whatever `compute.dtype` says.
"""

from patchwork import attacks

FAMILY = "adversarial"
AXIS = "bound in 1/255 (l-inf)"
LEVELS = [0, 1, 2, 4, 8]
RANGE = [0, 255]
SETTINGS = {"steps": 5, "step_share": 0.5}
GRADIENTS = ["steps"]
MODEL = True
SHOWS = "Left: half of the attacked image. Right: how the other half was changed, 16-fold around grey."
NOISE = "values"


def apply(model, images, labels, level, noise, steps, step_share):
    """The attacked images: float32 [N, 3, H, W] in [0, 1]."""
    how = {"steps": steps, "step_share": step_share, "noise": noise}
    return attacks.attacked(attacks.pgd, model, images, labels, level, __name__, **how)


def shown(model, images, labels, level, noise, steps, step_share):
    """Half of the attacked image, and the amplified change of the other half."""
    return attacks.halves(images, apply(model, images, labels, level, noise, steps, step_share))
