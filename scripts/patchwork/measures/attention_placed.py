"""Where do tokens look when the image is small, in a corner? The class token's attention, block by block.

Source: figure 26 of the paper: attention averaged over a dataset, of every block and head of DeiT-T, in
images that were made small and put in a corner of a black canvas, as for table 8. In which corner is not
told; here it is the one at the top left. All else is as for the measure `attention`.
"""

from torch import ones

from patchwork.measures import attention
from patchwork.perturbations import placement

# As those of `attention`, of the kinds `visible` and `patch`.
COLUMNS = {
    "kind": "string",
    "token": "string",
    "block": "int16",
    "head": "int16",
    "patch": "int32",
    "image": "int32",
    "occluded": "float32",
    "untouched": "float32",
    "visible_fraction": "float32",
}
PASSES = 2  # of untouched and of placed images
SHOWS = (
    "Attention to patches, from left to right block by block; the first column is what was seen. Above: of "
    "the class token (and the shape token, where there is one), as means over all images. The first row is "
    "of the untouched images, all others of images made small in the corner at the top left, which is "
    "outlined in each map. The first two rows are means over heads, then each head has a row. Below: of the "
    "class token in a few images, untouched and made small, as means over heads. Each map has a scale of its "
    "own, from 0 (dark) to what 2 % of its patches exceed (yellow)."
)
TOP_LEFT = 2

refuses = attention.refuses
picture = attention.picture


def measure(subject):
    """Rows as told beside COLUMNS, and for the picture what `attention.compare` tells."""
    size = subject.data.read(0, 1).shape[-2:]
    inside = placement.apply(ones(1, 1, *size, device=subject.device), TOP_LEFT) > 0.5
    found, examples = attention.compare(subject, inside[0], lambda pixels: placement.apply(pixels, TOP_LEFT))
    kept = found["kind"] != "distance"
    return {name: found[name][kept] for name in COLUMNS}, examples
