"""Pictures of what the models saw: a row per image, a column per level."""

import numpy as np
import pytest
import timm

from patchwork import models, sheets
from patchwork.report import pictures
from patchwork.views import View

GAP = 4


class Dataset:
    """Random images that need no file."""

    def __init__(self, images, height=32, width=40):
        self.pixels = np.random.default_rng(0).integers(0, 256, (images, 3, height, width), np.uint8)
        self.paths = [f"{i}.png" for i in range(images)]
        self.labels = np.zeros(images, np.int64)

    def read(self, first, last):
        return self.pixels[first:last]


@pytest.mark.parametrize(
    ("perturbation", "variant", "levels"),
    [("random_drop", "4x4", [0, 0.3, 0.9]), ("shuffle_grid", "plain", [1, 4, 16, 64])],
)
@pytest.mark.parametrize(("images", "shown"), [(11, [0, 2, 5, 8]), (4, [0, 1, 2, 3]), (2, [0, 1]), (1, [0])])
def test_every_tile_is_what_the_model_sees(perturbation, variant, levels, images, shown):
    view = View(Dataset(images), "set", perturbation, variant)
    picture = sheets.sheet(view, levels, 5)
    assert picture.mode == "RGB"
    assert picture.size == (len(levels) * (40 + GAP) - GAP, len(shown) * (32 + GAP) - GAP)
    found, between = np.asarray(picture), np.ones((picture.height, picture.width), bool)
    for i, image in enumerate(shown):
        for j, level in enumerate(levels):
            place = slice(i * 36, i * 36 + 32), slice(j * 44, j * 44 + 40)
            seen, _ = view.perturb(view.batch(image, image + 1), level, 5)
            expected = (seen[0].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
            assert np.array_equal(found[place], expected)
            between[place] = False
    assert (found[between] == 255).all()
    first = found[:32, :40].transpose(2, 0, 1)
    assert np.array_equal(first, view.data.pixels[0])  # the first level is the image itself


def test_the_seed_is_the_one_that_was_asked():
    view = View(Dataset(3), "set", "random_drop", "4x4")
    once, again, other = (np.asarray(sheets.sheet(view, [0, 0.5], seed)) for seed in (0, 0, 1))
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_the_number_of_images_can_be_chosen():
    view = View(Dataset(9), "set", "random_drop", "4x4")
    assert sheets.sheet(view, [0], 0, images=3).size == (40, 3 * 36 - GAP)


def transformer():
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return models.Model(timm.create_model("vit_tiny_patch16_224", **options).eval())


def test_what_a_model_is_refused_stays_white():
    view = View(Dataset(1, 32, 32), "set", "feature_drop", "zero_50")
    picture = np.asarray(sheets.sheet(view, [0, 1, 2, 3], 0, transformer()))
    columns = [picture[:, at : at + 32] for at in range(0, 4 * 36 - GAP, 36)]
    black = [(column == 0).all(2).mean() for column in columns]
    assert black[1:] == [pytest.approx(0.5, abs=0.01)] * 2 + [0] and black[0] < 0.01
    assert (columns[3] == 255).all()
    nobody = np.asarray(sheets.sheet(view, [0, 1], 0, None))
    assert np.array_equal(nobody[:, :32], columns[0]) and (nobody[:, 36:] == 255).all()


def test_a_sheet_is_seen_by_the_first_model_that_the_perturbation_applies_to(tmp_path):
    view = View(Dataset(1, 32, 32), "set", "feature_drop", "mask_50")
    vit, cnn = transformer(), models.Model(timm.create_model("test_resnet").eval())
    candidates = {"cnn": lambda: cnn, "vit": lambda: vit, "never": None}
    assert sheets.first_that_can(view, [0, 1], candidates) == ("vit", vit)
    assert sheets.first_that_can(view, [0, 1], {"cnn": lambda: cnn}) == ("", None)
    sheets.save(tmp_path / "a.webp", sheets.sheet(view, [0, 1], 0, vit), model="vit")
    about = {"dataset": "set", "perturbation": "feature_drop", "variant": "mask_50", "levels": [0, 1]}
    shown = pictures.sheet(about | {"axis": "block", "shows": ""}, tmp_path / "a.webp")
    assert "the same at every level, seen by vit." in shown
