"""Every corruption at every severity against code that was written by others.

The oracle is imagecorruptions-imaug, where it does what Hendrycks' code does; elastic transform, snow and
frost are written down once more below after that code, with its libraries. Both sides draw the same random
numbers.
"""

import ast
import csv
import types
import warnings

import cv2
import numpy as np
import pytest
import skimage
import torch
from imagecorruptions import corruptions as oracle
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.ndimage import zoom as scipy_zoom

from conftest import ROOT
from patchwork import corruptions
from patchwork.perturbations import corrupt
from test_perturbations import Dataset, seen

SEVERITIES = [1, 2, 3, 4, 5]
OWN = ["elastic_transform", "snow", "frost"]  # what the oracle does otherwise


def photograph(height, width, seed=0):
    """Something smooth and something rough, with black and white in it: uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    image = sum(
        cv2.resize(random.normal(size=(side, side, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for side in (4, 16, 64)
    )
    return np.uint8(np.clip(128 + 40 * image, 0, 255))


class Draws:
    """numpy.random as the oracle calls it, with the numbers of a numpy Generator."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + scale * self.generator.standard_normal(size)

    def poisson(self, lam):
        return self.generator.poisson(lam)

    def uniform(self, low, high, size=None):
        return self.generator.uniform(low, high, size)

    def randint(self, low, high=None, size=None):
        return self.generator.integers(low, high, size)

    def seed(self, seed):
        """The numbers are given."""


def called(monkeypatch, name, image, severity, seed):
    """An image under the oracle: float [H, W, 3] from 0 to 255, before it is rounded."""
    numpy = types.SimpleNamespace(**vars(np) | {"random": Draws(seed)})
    monkeypatch.setattr(oracle, "np", numpy)
    # compiled code would draw its own numbers
    monkeypatch.setattr(oracle, "_shuffle_pixels_njit_glass_blur", GLASS.py_func)
    own = {"impulse_noise": {"seed": np.random.default_rng(seed)}, "glass_blur": {"seed": seed}}
    with warnings.catch_warnings(action="ignore"):
        result = getattr(oracle, name)(Image.fromarray(image), severity, **own.get(name, {}))
    return np.asarray(result, float)


GLASS = oracle._shuffle_pixels_njit_glass_blur


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", [name for name in corrupt.VARIANTS if name not in OWN])
def test_a_corruption_is_what_the_oracle_says(monkeypatch, name, severity):
    """Nowhere more than a level apart. Where both round down what float32 and float64 put to either side of a
    level, some values are: at most a tenth, but for saturation times two, where whole levels meet."""
    image = photograph(*((96, 96) if name == "glass_blur" else (224, 224)))
    expected = called(monkeypatch, name, image, severity, seed=5)
    # ImageMagick, which he called for this one, rounds to the nearest level
    expected = np.rint(expected) if name == "motion_blur" else np.floor(expected)
    found = corruptions.corrupt(name, image, severity, np.random.default_rng(5)).astype(int)
    apart = np.abs(found - expected)
    assert apart.max() <= 1
    assert apart.mean() <= (0.4 if (name, severity) == ("saturate", 3) else 0.1)
    assert np.abs(expected - image).mean() > 0.5  # the oracle did something


# ---- Hendrycks' code for what the oracle does otherwise, with the names of today's libraries ----


def slow_snow(x, c, random):
    def zoomed(layer):
        h = layer.shape[0]
        ch = int(np.ceil(h / c[2]))
        top = (h - ch) // 2
        layer = scipy_zoom(layer[top : top + ch, top : top + ch], (c[2], c[2], 1), order=1)
        trim = (layer.shape[0] - h) // 2
        return layer[trim : trim + h, trim : trim + h]

    x = np.float32(x / 255.0)
    layer = zoomed(random.normal(size=x.shape[:2], loc=c[0], scale=c[1])[..., None])
    layer[layer < c[3]] = 0
    layer = (np.clip(layer.squeeze(), 0, 1) * 255).astype(np.uint8)  # an image in 8 bits for ImageMagick
    layer = oracle._motion_blur(layer, radius=c[4], sigma=c[5], angle=random.uniform(-135, -45))
    layer = (np.rint(layer) / 255.0)[..., None]
    gray = (x @ np.array([0.299, 0.587, 0.114]))[..., None]  # OpenCV's weights
    x = c[6] * x + (1 - c[6]) * np.maximum(x, gray * 1.5 + 0.5)
    return np.clip(x + layer + np.rot90(layer, k=2), 0, 1) * 255


def slow_frost(x, c, random):
    number = random.randint(5)
    picture = cv2.imread(f"{FROST}/frost{number + 1}.{'png' if number < 3 else 'jpg'}")[..., [2, 1, 0]]
    top = random.randint(0, picture.shape[0] - x.shape[0])
    left = random.randint(0, picture.shape[1] - x.shape[1])
    picture = picture[top : top + x.shape[0], left : left + x.shape[1]]
    return np.clip(c[0] * x + c[1] * picture, 0, 255)


def slow_elastic(x, c, random):
    image = np.float32(x / 255.0)
    shape = image.shape
    centre, side = np.float32(shape[:2]) // 2, min(shape[:2]) // 3
    points = np.float32([centre + side, [centre[0] + side, centre[1] - side], centre - side])
    moved = points + random.uniform(-c[2], c[2], size=points.shape).astype(np.float32)
    matrix = cv2.getAffineTransform(points, moved)
    image = cv2.warpAffine(image, matrix, shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)

    def shifts():
        drawn = random.uniform(-1, 1, size=shape[:2])
        smooth = skimage.filters.gaussian(drawn, c[1], mode="reflect", truncate=3)
        return np.float32(smooth * c[0])[..., None]

    dx, dy = shifts(), shifts()
    x, y, z = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]), np.arange(shape[2]))
    places = [np.reshape(place, (-1, 1)) for place in (y + dy, x + dx, z)]
    return np.clip(map_coordinates(image, places, order=1, mode="reflect").reshape(shape), 0, 1) * 255


FROST = oracle.__file__.removesuffix("corruptions.py") + "frost"


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("name", "slow"), [*zip(OWN, [slow_elastic, slow_snow, slow_frost], strict=True)])
def test_a_corruption_is_what_hendrycks_code_does(name, slow, severity):
    image, constants = photograph(224, 224), published()[name, severity]
    for seed in range(4):
        expected = np.floor(slow(image, constants, Draws(seed)))
        found = corruptions.corrupt(name, image, severity, np.random.default_rng(seed)).astype(int)
        apart = np.abs(found - expected)
        assert apart.max() <= 2 and (apart > 1).mean() < 1e-3 and apart.mean() < 0.1


# ---- Constants ----


def published():
    """The constants of ImageNet-C by (corruption, severity), from the table of published numbers."""
    found = {}
    with open(ROOT / "reports/published.csv", newline="") as opened:
        for row in csv.DictReader(opened):
            if row["experiment"] == "imagenet_c_severity":
                name, severity = (part.split("=")[1] for part in row["condition"].split(";"))
                value = row["value"].removeprefix("arange")
                found[name, int(severity)] = arithmetic(value)
    return found


def arithmetic(text):
    """'(244*2,3)' as (488, 3)."""

    def value(node):
        match node:
            case ast.Tuple(elts=parts):
                return tuple(value(part) for part in parts)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return value(left) * value(right)
            case ast.Constant(value=number):
                return number

    return value(ast.parse(text, mode="eval").body)


def test_constants_are_the_published_ones():
    expected = published()
    assert list(corruptions.SEVERITIES) == corrupt.VARIANTS
    assert set(expected) == {(name, severity) for name in corrupt.VARIANTS for severity in SEVERITIES}
    for (name, severity), constants in expected.items():
        own = np.multiply(
            corruptions.SEVERITIES[name][severity - 1], 224 if name == "elastic_transform" else 1
        )
        assert own == pytest.approx(np.array(constants), rel=1e-12), (name, severity)


# ---- What is drawn ----


def gray(level, side=128):
    return np.full((side, side, 3), level, np.uint8)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_is_as_strong_as_its_name_says(severity):
    def noisy(name, level):
        return corruptions.corrupt(name, gray(level), severity, np.random.default_rng(1))

    values = 3 * 128**2
    for name, brightness in [("gaussian_noise", 1), ("speckle_noise", 128 / 255)]:
        deviation = brightness * published()[name, severity]
        # What is cut off at black and white does not move the inner quantiles; they are whole levels.
        spread = np.diff(np.quantile(noisy(name, 128), [0.3, 0.7]))[0] / 255
        assert spread == pytest.approx(2 * 0.5244 * deviation, abs=1 / 255)
    share = (noisy("impulse_noise", 51) != 51).mean()
    assert share == pytest.approx(published()["impulse_noise", severity], abs=4 * np.sqrt(0.25 / values))
    dark, photons = (noisy("shot_noise", 51) == 0).mean(), 0.2 * published()["shot_noise", severity]
    assert dark == pytest.approx(np.exp(-photons), abs=4 * np.sqrt(0.25 / values))


def test_frost_never_draws_the_sixth_picture():
    pictures = [corruptions.frost_picture(number, 224, 224) for number in range(5)]
    found = set()
    for seed in range(60):
        frosted = corruptions.corrupt(
            "frost", np.zeros((300, 300, 3), np.uint8), 1, np.random.default_rng(seed)
        )
        number = np.random.default_rng(seed).integers(5)
        found.add(int(number))
        assert frosted.max() <= np.ceil(0.4 * pictures[number].max())
    assert found == {0, 1, 2, 3, 4}


def test_frost_is_large_enough_for_any_image():
    for height, width in [(16, 16), (224, 224), (384, 512), (900, 700)]:
        image = photograph(height, width)
        assert corruptions.corrupt("frost", image, 3, np.random.default_rng(0)).shape == image.shape


def test_an_image_keeps_its_draws_over_severities():
    """Gray 128 at 0.08 and 0.12: the same numbers, times 0.08 and 0.12."""
    mild, strong = (
        corruptions.corrupt("gaussian_noise", gray(128), severity, np.random.default_rng(3)).astype(int) - 128
        for severity in (1, 2)
    )
    assert np.corrcoef(mild.ravel(), strong.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", corrupt.VARIANTS)
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (49, 130)])
def test_any_size_is_corrupted(name, size):
    for severity in SEVERITIES:
        image = photograph(*size)
        found = corruptions.corrupt(name, image, severity, np.random.default_rng(0))
        assert found.shape == image.shape and found.dtype == np.uint8


@pytest.mark.parametrize("name", corrupt.VARIANTS)
def test_a_corruption_leaves_numpys_and_its_own_image_alone(name):
    np.random.seed(0)
    state, image = np.random.get_state()[1].copy(), photograph(64, 64)
    before = image.copy()
    corruptions.corrupt(name, image, 4, np.random.default_rng(0))
    assert np.array_equal(np.random.get_state()[1], state) and np.array_equal(image, before)


# ---- The perturbation ----


def applied(data, level, folder, variant="fog", quality=100):
    images = torch.from_numpy(data.pixels).float() / 255
    noise = torch.full((len(images), 1), 0.5, dtype=torch.float64)
    return corrupt.apply(images, data.paths, level, noise, variant, folder, quality)


@pytest.fixture
def official(tmp_path):
    """A tiny ImageNet-C, of images larger than the packed ones, and the dataset that it belongs to."""
    data = Dataset(3, 32, 32)
    data.pixels = data.pixels // 2
    data.paths = ["n01440764/a.JPEG", "n01440764/b.JPEG", "n01443537/c.JPEG"]
    for number, path in enumerate(data.paths):
        file = tmp_path / "fog/3" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((40, 36, 3), 250, np.uint8)
        pixels[4:36, 2:34] = 60 * number
        Image.fromarray(pixels).save(file, quality=95)
    return data, tmp_path


def test_the_files_of_imagenet_c_are_cropped_at_the_centre(official):
    data, folder = official
    found = applied(data, 3, folder) * 255
    assert found.shape == (3, 3, 32, 32)
    assert [round(image[:, 8:24, 8:24].mean().item()) for image in found] == [0, 60, 120]
    assert torch.equal(applied(data, 0, folder), torch.from_numpy(data.pixels).float() / 255)


def test_a_file_of_imagenet_c_that_cannot_be_used_is_named(official):
    data, folder = official
    (folder / "fog/3" / data.paths[1]).unlink()
    with pytest.raises(ValueError, match=r"fog/3/n01440764/b\.JPEG cannot be read"):
        applied(data, 3, folder)
    data.pixels = Dataset(3, 64, 64).pixels
    with pytest.raises(ValueError, match=r"a\.JPEG has 40x36 pixels, fewer than pixels.crop asks for: 64x64"):
        applied(data, 3, folder)


def test_jpeg_quality_stores_as_the_published_files_are_stored():
    data = Dataset(2, 64, 64)
    plain, stored = (applied(data, 1, None, quality=quality) for quality in (100, 85))
    for before, after in zip(plain, stored, strict=True):
        pixels = np.uint8((before * 255).round().permute(1, 2, 0).numpy())
        encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].transpose(2, 0, 1).astype(float)
        assert np.abs(after.numpy() * 255 - expected).mean() < 1  # another library's JPEG
        assert not torch.equal(before, after)


def test_what_is_steady_is_so_and_nothing_else():
    data, images = Dataset(1, 64, 64), {}
    for name in corrupt.VARIANTS:
        images[name] = [seen(f"corrupt/{name}", data, 3, seed)[0] for seed in (0, 1)]
    assert [name for name, (one, other) in images.items() if torch.equal(one, other)] == corrupt.STEADY
