"""A disc of random pixels somewhere on each image: what an adversarial patch costs by what it hides.

The control of adversarial_patch, crafted on nothing: the noise that crafting starts from, at the same
places and angles.
"""

from patchwork import patches

FAMILY = "patch"
AXIS = "share of the image covered by the patch"
LEVELS = [0, 0.05, 0.15, 0.25]
RANGE = [0, 0.75]
NOISE = 3
NOISE_NAME = "adversarial_patch"


def apply(images, level, seed, noise):
    """The images (float [N, 3, H, W]) with the disc of this size and seed on each."""
    if not level:
        return images
    return patches.paste(images, patches.start(level, seed, *images.shape[-2:], images.device), level, noise)
