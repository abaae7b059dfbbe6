"""Universal adversarial patch that begins where a token begins, upright or after quarter turns.

Source: Gu et al., "Are Vision Transformers Robust to Patch Perturbations?" (ECCV 2022, arXiv 2111.10659),
who find vision transformers more easily misled by patches that are aligned with their tokens. The box
around the disc begins at a corner of the tokens of the model that looks, or of 14x14 tiles where a network
has no tokens. All else is as for adversarial_patch; the patches are crafted under these places, too.
"""

from patchwork import grids
from patchwork import patches as discs

FAMILY = "patch"
AXIS = "share of the image covered by the patch"
LEVELS = [0, 0.05, 0.15, 0.25]
RANGE = [0, 0.75]
VARIANTS = "models"
MODEL = True
NOISE = 3
NEEDS = ["patches"]


def apply(images, level, seed, noise, model, patches):
    """The images (float [N, 3, H, W]) with the patch of this size and seed on each.

    patches: {discs.key: float [3, side, side]}.
    """
    if not level:
        return images
    reach = grids.reach(model, *images.shape[-2:])
    return discs.paste(images, patches[discs.key(level, seed)], level, noise, model.grid or (14, 14), reach)
