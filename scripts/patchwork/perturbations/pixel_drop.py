"""PixelDrop: black out a share of the single pixels of each image.

Source: appendix B of the paper; PatchDrop with a tile for each pixel.
"""

from patchwork import grids

FAMILY = "occlusion"
AXIS = "share of pixels dropped"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RANGE = [0, 1]
NOISE = "pixels"


def dropped(images, level, noise):
    """True where a pixel is blacked out: bool [N, 1, H, W]; exactly floor(level * pixels) of each image, and
    what a level drops, every higher level drops too."""
    height, width = images.shape[-2:]
    number = grids.count(level, height * width)
    if not number:
        return images.new_zeros(len(images), 1, height, width).bool()
    # The number-th smallest value is found in a tenth of the time of sorting all.
    threshold = noise.kthvalue(number, dim=1, keepdim=True).values
    return (noise <= threshold).view(-1, 1, height, width)
