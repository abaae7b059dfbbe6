"""Common corruptions: the 15 of ImageNet-C at five severities, and its four extra ones.

Source: the paper's table of corruption errors; Hendrycks and Dietterich (ICLR 2019). Where a dataset names a
folder of ImageNet-C (`imagenet_c`), its files are read: <folder>/<corruption>/<severity>/<path of the image>,
cropped at the centre and never resized. Otherwise images are corrupted here, by the same definitions
(corruptions.py) but with random numbers of their own: the same of an image for every severity and model.
The published files are JPEGs of quality 85; `jpeg_quality` below 100 stores what is corrupted here like them.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from patchwork import corruptions

FAMILY = "corruption"
AXIS = "severity"
LEVELS = [0, 1, 2, 3, 4, 5]
# fmt: off
VARIANTS = [
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
]
STEADY = [
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur",
    "saturate",
]
# fmt: on
NOISE = 1
NEEDS = ["imagenet_c"]
SETTINGS = {"jpeg_quality": 100}


def apply(images, paths, level, noise, variant, imagenet_c, jpeg_quality):
    """The images (float32 [N, 3, H, W] of 256 levels) under corruption `variant` at severity `level`.

    imagenet_c: a folder like that of ImageNet-C, or None to corrupt them here.
    Raises ValueError naming a file of the folder that is missing, no image or too small.
    """
    if not level:
        return images
    if imagenet_c:
        folder = Path(imagenet_c, variant, f"{level:g}")
        seen = [published(folder / path, *images.shape[2:]) for path in paths]
    else:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        seeds = (noise[:, 0] * 2**53).long().tolist()  # all the bits of a number
        seen = [
            stored(corruptions.corrupt(variant, image, int(level), np.random.default_rng(seed)), jpeg_quality)
            for image, seed in zip(pixels, seeds, strict=True)
        ]
    return torch.from_numpy(np.stack(seen)).to(images.device).permute(0, 3, 1, 2).float() / 255


def published(path, height, width):
    """The centre of an image file: uint8 [height, width, 3]."""
    try:
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        size = f"{image.shape[0]}x{image.shape[1]}"
        raise ValueError(f"{path} has {size} pixels, fewer than pixels.crop asks for: {height}x{width}")
    return image[top : top + height, left : left + width]


def stored(image, quality):
    """What is left of an image (uint8 [H, W, 3]) in a JPEG of this quality; all of it from 100 on."""
    if quality >= 100:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
