"""FGSM, the fast gradient sign method: one step against the model, made for each image by itself.

Source: Goodfellow et al. 2015; Figure 13 of the paper. Every value of the image is moved by the whole bound
in the direction that raises the cross-entropy of the true label, and clipped to [0, 1]. A level is the bound
in 1/255, in the maximum norm. One step is the weakest of the attacks here: a large one may leave where the
gradient holds, so that accuracy can rise with the bound. Gradients are in float32, whatever `compute.dtype`
says.
"""

from patchwork import attacks

FAMILY = "adversarial"
AXIS = "bound in 1/255 (l-inf)"
LEVELS = [0, 1, 2, 4, 8]
RANGE = [0, 255]
GRADIENTS = [1]
MODEL = True
SHOWS = "Left: half of the attacked image. Right: how the other half was changed, 16-fold around grey."


def apply(model, images, labels, level):
    """The attacked images: float32 [N, 3, H, W] in [0, 1]."""
    return attacks.attacked(attacks.pgd, model, images, labels, level, __name__, steps=1, step_share=1)


def shown(model, images, labels, level):
    """Half of the attacked image, and the amplified change of the other half."""
    return attacks.halves(images, apply(model, images, labels, level))
