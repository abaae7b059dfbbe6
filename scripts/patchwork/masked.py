"""Images with true masks, as they are in their folders: of any size, decoded when they are asked for."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

from patchwork import folders, pixels


class Masked:
    """Images that have masks: `paths` and `numbers` (places in the order of paths, int64 [N]) and `sizes`
    (height and width in pixels, int64 [N, 2]), in order of their aspect, so that neighbours can share a
    batch.

    root, masks, listed, columns, images: of folders.masked. void: the value of mask pixels that tell
    nothing, or None. threads: that decode.
    Raises ValueError or FileNotFoundError naming the file at fault.
    """

    def __init__(self, root, void=None, threads=1, **told):
        self.root, self.void, self.pool = root, void, ThreadPoolExecutor(threads)
        pairs = folders.masked(root, **told)
        sizes = [*self.pool.map(upright_size, [Path(root, path) for path, _ in pairs])]
        order = sorted(range(len(pairs)), key=lambda n: (sizes[n][1] / sizes[n][0], n))
        self.paths, self.masks = zip(*(pairs[n] for n in order), strict=True)
        self.numbers = np.array(order)
        self.sizes = np.array([sizes[n][::-1] for n in order])

    def decoded(self, rows):
        """Images and their masks, as pairs of PIL images. rows: places in `paths`."""

        def load(row):
            path = Path(self.root, self.paths[row])
            image = pixels.decode(path)
            return image, labels(self.masks[row], image.size, path)

        return [*self.pool.map(load, rows)]

    def resized(self, pictures, height, width):
        """What `decoded` has found in one size, whatever its aspect: images (bilinear, anti-aliased), uint8
        [N, 3, height, width], and the values of masks (nearest pixel), int32 [N, height, width]."""

        def resize(pair):
            image, mask = pair
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image).transpose(2, 0, 1), np.asarray(mask.resize((width, height), 0), np.int32)

        images, masks = zip(*self.pool.map(resize, pictures), strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


def labels(path, size, image):
    """A mask whose pixels are numbers of classes: a PIL image of mode L or I. size, image: of `opened`.

    Raises ValueError if it cannot be read, has another size than its image, or colours instead of numbers.
    """
    values = np.asarray(opened(path, size, image))
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise ValueError(
            f"the mask {path} has colours, where a palette or grey PNG would have numbers of classes"
        )
    return Image.fromarray(values.astype(np.uint8 if values.max() < 256 else np.int32))


def opened(path, size, image):
    """The mask of an image file, upright (a PIL image). size: width and height of the image. image: its path.

    Raises ValueError if it cannot be read or has another size.
    """
    try:
        with Image.open(path) as file:
            file.load()
            mask = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the mask {path} cannot be read ({error})") from error
    if mask.size != size:
        sizes = ["x".join(map(str, each)) for each in (mask.size, size)]
        raise ValueError(f"the mask {path} has {sizes[0]} pixels, but its image {image} has {sizes[1]}")
    return mask


def upright_size(path):
    """Width and height of an image file in pixels, upright by its EXIF orientation.

    Raises ValueError naming the file if it is no image.
    """
    try:
        with Image.open(path) as file:
            turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return file.size[::-1] if turned else file.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = f"cannot be read ({error})" if os.path.getsize(path) else "is empty"
        raise ValueError(f"{path} {problem}") from error
