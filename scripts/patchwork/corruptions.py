"""The common corruptions of ImageNet-C and its four extra ones, each of one image.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), and the code that made ImageNet-C (make_imagenet_c.py of hendrycks/robustness):
the same constants in the same order of random numbers. That code needs ImageMagick, releases of its libraries
that are gone, and two seconds for some images. The packages that followed it differ from it in elastic
transform, snow and frost, or have other constants, so the definitions stand here. At 224 px they are its own;
at other sizes the constants stay as they are, in pixels, but for elastic transform, whose lengths are shares
of the shorter side, as in his code for 64 px.

A corruption is called with an image (uint8 [H, W, 3]), its constants at a severity and a numpy Generator, and
returns uint8 [H, W, 3]. As there, what lies between two of the 256 levels is rounded down.
"""

import importlib.metadata
import io
import math
from functools import cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import grid_sample, interpolate

cv2.setNumThreads(1)  # a job keeps to its threads, and one image is little work

# fmt: off
SEVERITIES = {  # the constants of severities 1 to 5
    "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],  # standard deviation
    "shot_noise": [60, 25, 12, 5, 3],  # photons at full brightness
    "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],  # share of the values
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],  # radius, sigma of its rim
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],  # sigma, reach, rounds
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],  # radius, sigma
    # first factor, end and step
    "zoom_blur": [(1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)],
    # mean, deviation, zoom and threshold of the flakes, radius and sigma of their motion, weight of the image
    "snow": [(0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
             (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],  # weights of image and frost
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],  # strength, decay of roughness
    "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],  # added to the value of HSV
    "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],  # of the distance to the mean colour
    # displacement, sigma of its smoothing and displacement of three points, in sides; his are of 244 px
    "elastic_transform": [tuple(244 / 224 * share for share in shares) for shares in [
        (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)]],
    "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],  # of the side
    "jpeg_compression": [25, 18, 15, 10, 7],  # quality
    "speckle_noise": [0.15, 0.2, 0.35, 0.45, 0.6],  # standard deviation at full brightness
    "gaussian_blur": [1, 2, 3, 4, 6],  # sigma
    # mean, deviation, sigma and threshold of the drops, strength (water) or sigma (mud), mud or not
    "spatter": [(0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)],
    "saturate": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],  # factor, summand of HSV's saturation
}
# fmt: on
WATER, MUD = np.array([175, 238, 238]) / 255, np.array([63, 42, 20]) / 255  # the colours of spatter


def corrupt(name, image, severity, random):
    """One image under a corruption. severity: 1 to 5. random: a numpy Generator."""
    return CORRUPTIONS[name](image, SEVERITIES[name][severity - 1], random)


def real(image):
    """An image as float32 in [0, 1]."""
    return (image / 255).astype(np.float32)


def quantised(image):
    """An image in [0, 1] or beyond as uint8."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


# ---- Noise ----


def gaussian_noise(image, deviation, random):
    return quantised(image / 255 + deviation * random.standard_normal(image.shape))


def shot_noise(image, photons, random):
    return quantised(random.poisson(image / 255 * photons) / photons)


def impulse_noise(image, share, random):
    flipped = random.random(image.shape) <= share
    salted = random.random(image.shape) <= 0.5
    return np.where(flipped, np.where(salted, np.uint8(255), np.uint8(0)), image)


def speckle_noise(image, deviation, random):
    image = image / 255
    return quantised(image + image * (deviation * random.standard_normal(image.shape)))


# ---- Blur ----


def smooth(image, sigma):
    """A Gaussian blur as scikit-image's: cut off at four sigma, the border repeated."""
    side = 2 * int(4 * sigma + 0.5) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)


def gaussian_blur(image, sigma, random):
    return quantised(smooth(real(image), sigma))


def defocus_blur(image, constants, random):
    height, width = image.shape[:2]
    kernel = torch.from_numpy(disk(*constants))
    rim = len(kernel) // 2
    framed = cv2.copyMakeBorder(real(image), rim, rim, rim, rim, cv2.BORDER_REFLECT_101)
    framed = torch.from_numpy(framed).permute(2, 0, 1)
    # By Fourier transforms, in a fifth of the time of cv2.filter2D; powers of 2 are fast.
    size = [1 << (side - 1).bit_length() for side in framed.shape[1:]]
    spectrum = torch.fft.rfft2(framed, s=size) * torch.fft.rfft2(kernel, s=size)
    blurred = torch.fft.irfft2(spectrum, s=size)
    blurred = blurred[:, 2 * rim : 2 * rim + height, 2 * rim : 2 * rim + width]
    return quantised(blurred.permute(1, 2, 0).numpy())


@cache
def disk(radius, sigma):
    """The kernel of a lens out of focus: a disk with a soft rim, float32 [K, K]."""
    steps = np.arange(-max(8, radius), max(8, radius) + 1)
    inside = np.float32(steps**2 + steps[:, None] ** 2 <= radius**2)
    rim = 3 if radius <= 8 else 5
    return cv2.GaussianBlur(inside / inside.sum(), (rim, rim), sigma)


def glass_blur(image, constants, random):
    sigma, reach, rounds = constants
    image = quantised(smooth(image / 255, sigma))
    order = glass(*image.shape[:2], reach, rounds, random)
    return quantised(smooth(image.reshape(-1, 3)[order].reshape(image.shape) / 255, sigma))


def glass(height, width, reach, rounds, random):
    """Where each pixel comes from behind glass: positions in the flattened image, int64 [height * width].

    Pixels are visited from the last to the first; each is replaced by one nearby, which may have been
    replaced before. (His code looks like a swap, but numpy's views make it a copy.)
    """
    rows, columns = (np.arange(side - reach, reach, -1) for side in (height, width))
    places = (rows[:, None] * width + columns).ravel()
    visits = np.arange(len(places))
    visit = np.full(height * width, len(places))  # of a pixel that stays: after all others
    visit[places] = visits
    order = np.arange(height * width)
    for across, down in random.integers(-reach, reach, (rounds, len(places), 2)).transpose(0, 2, 1):
        sources = places + down * width + across
        # Instead of one visit after another: follow each pixel to the first that was still in its place.
        first = np.minimum(visits, visit[sources])
        while (further := first[first]).tobytes() != first.tobytes():
            first = further
        order[places] = order[sources[first]]
    return order


def motion_blur(image, constants, random):
    return np.uint8(np.rint(moved(np.float32(image), *constants, random.uniform(-45, 45))))


def moved(image, radius, sigma, angle):
    """A blur along a line as ImageMagick's: half a Gaussian of 2 radius + 1 steps, the border repeated.

    image: float32 [H, W, ...]. angle: in degrees.
    """
    height, width = image.shape[:2]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    reach, angle = len(steps), math.radians(angle)
    rows, columns = (np.ceil(steps * f(angle) - 0.5).astype(int) + reach for f in (math.sin, math.cos))
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    total, term = np.zeros_like(image), np.empty_like(image)
    for weight, row, column in zip(weights, rows, columns, strict=True):
        total += np.multiply(padded[row : row + height, column : column + width], weight, out=term)
    return total


def zoom_blur(image, constants, random):
    image = torch.from_numpy(real(image)).permute(2, 0, 1).contiguous()
    factors = np.arange(*constants)
    total = image.clone()
    for factor in factors:
        total += zoomed(image, factor)
    return quantised((total / (len(factors) + 1)).permute(1, 2, 0).numpy())


def zoomed(image, factor):
    """The centre of an image (float [C, H, W]), enlarged to its size as scipy does at order 1."""
    size = image.shape[1:]
    crop = [math.ceil(side / factor) for side in size]
    top, left = ((side - part) // 2 for side, part in zip(size, crop, strict=True))
    centre = image[None, :, top : top + crop[0], left : left + crop[1]]
    large = [round(part * factor) for part in crop]
    top, left = ((side - part) // 2 for side, part in zip(large, size, strict=True))
    enlarged = interpolate(centre, large, mode="bilinear", align_corners=True)
    return enlarged[0, :, top : top + size[0], left : left + size[1]]


# ---- Weather ----


def snow(image, constants, random):
    mean, deviation, zoom, threshold, radius, sigma, weight = constants
    flakes = mean + deviation * random.standard_normal(image.shape[:2])
    flakes = zoomed(torch.from_numpy(flakes)[None], zoom)[0].numpy()
    flakes = quantised(np.where(flakes < threshold, 0, flakes))
    flakes = np.rint(moved(np.float32(flakes), radius, sigma, random.uniform(-135, -45))) / 255
    image = real(image)
    bleached = np.maximum(image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * 1.5 + 0.5)
    return quantised(weight * image + (1 - weight) * bleached + (flakes + np.rot90(flakes, 2))[..., None])


def frost(image, weights, random):
    height, width = image.shape[:2]
    picture = frost_picture(random.integers(5), height, width)
    top = random.integers(0, picture.shape[0] - height)
    left = random.integers(0, picture.shape[1] - width)
    picture = picture[top : top + height, left : left + width]
    return np.uint8(np.clip(weights[0] * image + weights[1] * picture, 0, 255))


@cache
def frost_picture(number, height, width):
    """A photograph of frost, uint8 [rows, columns, 3], one of five; his code never draws his sixth.

    Enlarged where it is not larger than height x width: for images above 314 px.
    """
    name = f"frost{number + 1}.{'png' if number < 3 else 'jpg'}"
    package = importlib.metadata.distribution("imagecorruptions-imaug")  # whose code is never imported
    with Image.open(str(package.locate_file(f"imagecorruptions/frost/{name}"))) as opened:
        picture = np.asarray(opened.convert("RGB"))
    scale = max((height + 1) / picture.shape[0], (width + 1) / picture.shape[1])
    if scale > 1:
        size = [math.ceil(side * scale) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    return picture


def fog(image, constants, random):
    strength, decay = constants
    height, width = image.shape[:2]
    image = image / 255
    brightest = image.max()
    side = 1 << (max(height, width) - 1).bit_length()
    image += strength * plasma(side, decay, random)[:height, :width, None]
    return quantised(image * brightest / (brightest + strength))


def plasma(side, decay, random):
    """A random landscape between 0 and 1 by the diamond-square algorithm: float64 [side, side], which wraps
    around; `side` is a power of 2."""
    heights, wibble, step = np.zeros((side, side)), 100, side

    def bumped(total):
        return total / 4 + wibble * random.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        heights[half::step, half::step] = bumped(total + np.roll(total, -1, 1))
        centres = heights[half::step, half::step]
        heights[::step, half::step] = bumped(
            centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1)
        )
        heights[half::step, ::step] = bumped(
            centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0)
        )
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def spatter(image, constants, random):
    mean, deviation, sigma, threshold, strength, mud = constants
    liquid = smooth(mean + deviation * random.standard_normal(image.shape[:2]), sigma)
    image = real(image)
    if mud:
        covered = smooth(np.float32(liquid > threshold), strength)[..., None]
        covered[covered < 0.8] = 0
        return quantised(image * (1 - covered) + covered * MUD)
    liquid = quantised(np.where(liquid < threshold, 0, liquid))
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(distance, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    drops = liquid * cv2.blur(relief, (3, 3)).astype(np.float32)
    drops *= strength / (drops.max() or 1)  # a small image may have none
    return quantised(image + drops[..., None] * WATER)


# ---- Digital ----


def brightness(image, summand, random):
    return recoloured(image, 2, 1, summand)


def saturate(image, constants, random):
    return recoloured(image, 1, *constants)


def recoloured(image, channel, factor, summand):
    """An image with a channel of HSV (1 saturation, 2 value) changed."""
    hsv = cv2.cvtColor(real(image), cv2.COLOR_RGB2HSV)
    hsv[..., channel] = np.clip(hsv[..., channel] * factor + summand, 0, 1)
    return quantised(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def contrast(image, factor, random):
    means = image.mean((0, 1)) / 255
    levels = np.arange(256)[:, None] / 255
    return cv2.LUT(image, quantised((levels - means) * factor + means)[None])


@cache
def smoothing(side, sigma):
    """The matrix that smooths along an axis like scipy's Gaussian filter, mirrored at the border and cut off
    at three sigma: float32 [side, side]. A kernel wider than the image makes it faster than a convolution."""
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    source = (np.arange(side)[:, None] + offsets) % (2 * side)
    matrix = np.zeros((side, side))
    np.add.at(
        matrix,
        (np.arange(side)[:, None], np.minimum(source, 2 * side - 1 - source)),
        weights / weights.sum(),
    )
    return np.float32(matrix)


def elastic_transform(image, constants, random):
    height, width = image.shape[:2]
    displacement, sigma, affine = (min(height, width) * constant for constant in constants)
    centre, third = np.array([height, width], np.float32) // 2, min(height, width) // 3
    points = centre + np.array([[third, third], [third, -third], [-third, -third]], np.float32)
    moved_points = points + random.uniform(-affine, affine, size=points.shape).astype(np.float32)
    image = cv2.warpAffine(
        real(image),
        cv2.getAffineTransform(points, moved_points),
        (width, height),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    across, down = (
        displacement * (smoothing(height, sigma) @ shifts.astype(np.float32) @ smoothing(width, sigma).T)
        for shifts in random.uniform(-1, 1, (2, height, width))
    )
    grid = np.stack(
        [
            (2 * (np.arange(width) + across) + 1) / width - 1,
            (2 * (np.arange(height)[:, None] + down) + 1) / height - 1,
        ],
        -1,
    )
    moved_image = grid_sample(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        torch.from_numpy(np.float32(grid))[None],
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return quantised(moved_image[0].permute(1, 2, 0).numpy())


def pixelate(image, share, random):
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image, quality, random):
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


CORRUPTIONS = {name: globals()[name] for name in SEVERITIES}
