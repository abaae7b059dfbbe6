"""APGD-T: Auto-PGD towards wrong classes, the second attack of AutoAttack.

Source: Croce and Hein 2020. A hundred adaptive steps on the targeted difference-of-logits-ratio loss, towards
one class after the other: the `targets` wrong classes that are likeliest for the untouched image, or all if
the model has no more. As in AutoAttack, images that the model gets wrong anyway are not attacked, none is
once it is misclassified, and one that withstands all stays as it is. Every class starts from the same random
place; AutoAttack draws one for each. A level is the bound in 1/255, in the maximum norm. The costliest attack
here, for models that withstand `apgd_ce`: meant for a dataset of few `images`. Gradients are in float32,
whatever `compute.dtype` says.
"""

from patchwork import attacks

FAMILY = "adversarial"
AXIS = "bound in 1/255 (l-inf)"
LEVELS = [0, 1, 2, 4, 8]
RANGE = [0, 255]
SETTINGS = {"steps": 100, "targets": 9}
GRADIENTS = ["steps", "targets"]
MODEL = True
SHOWS = "Left: half of the attacked image. Right: how the other half was changed, 16-fold around grey."
NOISE = "values"


def apply(model, images, labels, level, noise, steps, targets):
    """The attacked images: float32 [N, 3, H, W] in [0, 1]."""
    how = {"steps": steps, "targets": targets, "noise": noise}
    return attacks.attacked(attacks.apgd_t, model, images, labels, level, __name__, **how)


def shown(model, images, labels, level, noise, steps, targets):
    """Half of the attacked image, and the amplified change of the other half."""
    return attacks.halves(images, apply(model, images, labels, level, noise, steps, targets))


def refuses(model, level, variant):
    """Models whose classes are too few for the loss, which ranks four."""
    classes = model.net.num_classes
    if level and classes < 4:
        return f"{type(model.net).__name__} tells {classes} classes apart, the loss of APGD-T needs 4"
    return None
