"""PGD, projected gradient descent: five small steps against the model, made for each image by itself.

Source: Madry et al. 2018; section 3 and Figure 13 of the paper, which takes five steps. Each moves every
value by `step_share` of the bound in the direction that raises the cross-entropy of the true label, then
clips it to the bound and to [0, 1]. A level is the bound in 1/255, in the maximum norm. The paper leaves
the size of a step and the start open: here it is half of the bound (2.5 bounds over all steps, as Madry et
al. take) and the image itself. Gradients are in float32, whatever `compute.dtype` says.
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


def apply(model, images, labels, level, steps, step_share):
    """The attacked images: float32 [N, 3, H, W] in [0, 1]."""
    how = {"steps": steps, "step_share": step_share}
    return attacks.attacked(attacks.pgd, model, images, labels, level, __name__, **how)


def shown(model, images, labels, level, steps, step_share):
    """Half of the attacked image, and the amplified change of the other half."""
    return attacks.halves(images, apply(model, images, labels, level, steps, step_share))
