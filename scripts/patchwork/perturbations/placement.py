"""Placement: the whole image, made small, in one corner of a black canvas.

Source: appendix F, Table 8 of the paper ("dynamic receptive field"): 128 of 224 pixels. Four sevenths of the
side are taken, rounded down to a multiple of 8 pixels, so that the picture keeps to a grid of tokens of 8
pixels, and of 16 at 224.
"""

from torch.nn.functional import interpolate, pad

FAMILY = "placement"
AXIS = "corner: 1 top right, 2 top left, 3 bottom right, 4 bottom left"
LEVELS = [0, 1, 2, 3, 4]


def apply(images, level):
    """The images (float [N, 3, H, W]) in corner `level`, in the order of Table 8; bilinear, anti-aliased, as
    PIL makes images smaller."""
    if not level:
        return images
    height, width = images.shape[-2:]
    tall, wide = (max(1, side * 4 // 7 // 8 * 8) for side in (height, width))
    small = interpolate(images, (tall, wide), mode="bilinear", antialias=True).clamp(0, 1)
    left = width - wide if level in (1, 3) else 0
    top = height - tall if level in (3, 4) else 0
    return pad(small, (left, width - wide - left, top, height - tall - top))
