"""Universal adversarial patch: a disc that was crafted to make a model wrong, somewhere on each image.

Source: Figures 12, 30 and 31 of the paper, which shows sizes of 5, 15 and 25 % of the image and means of
five runs of the attack. A variant is the model that the patch was crafted on; on any other model it is an
attack by transfer. Place and angle are any, drawn for each image and seed; each seed has a patch of its
own, as each run of the attack had.
"""

from patchwork import patches as discs

FAMILY = "patch"
AXIS = "share of the image covered by the patch"
LEVELS = [0, 0.05, 0.15, 0.25]
RANGE = [0, 0.75]
VARIANTS = "models"
NOISE = 3
NEEDS = ["patches"]


def apply(images, level, seed, noise, patches):
    """The images (float [N, 3, H, W]) with the patch of this size and seed on each.

    patches: {discs.key: float [3, side, side]}.
    """
    return discs.paste(images, patches[discs.key(level, seed)], level, noise) if level else images
