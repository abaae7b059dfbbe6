"""Adversarial patches: how they lie on images, what crafting does, and what the report tells of them."""

import json
import logging
import math
import os
import runpy
import tempfile

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage
from scipy.stats import binomtest
from torch import nn

from conftest import PERTURBATIONS, ROOT, Project
from patchwork import catalogue, models, patches, settings, theme, views, warehouse
from test_warehouse import CLASSES, IMAGES, SEEDS, Study

SIDE = 24


# ---- how a patch lies ----


@pytest.mark.parametrize("side", [32, 64, 224, 225, 299])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.25, 0.5, 0.75])
def test_a_disc_covers_its_share(side, share):
    disc = patches.disc(share, side, side)
    circumference = 2 * math.sqrt(math.pi * share) * side
    assert abs(disc.sum() - share * side**2) < circumference / 2  # half a ring of pixels
    assert side < 224 or disc.sum() / side**2 == pytest.approx(share, rel=0.01)
    assert torch.equal(disc, disc.rot90()) and torch.equal(disc, disc.flip(0))
    assert disc[0].any() and disc[len(disc) // 2].all()  # it fills its box


def test_a_disc_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a disc of 0\.8 of its area does not fit into an image of 64x64"):
        patches.disc(0.8, 64, 64)


@pytest.mark.parametrize(("length", "side", "tiles"), [(64, 17, 8), (64, 17, 14), (32, 32, 4), (50, 7, 50)])
def test_a_corner_is_the_first_pixel_of_a_tile_and_all_tiles_are_as_likely(length, side, tiles):
    starts = [next(p for p in range(length) if p * tiles // length == tile) for tile in range(tiles)]
    fitting = [start for start in starts if start + side <= length]
    uniform = (torch.arange(1000 * len(fitting), dtype=torch.float64) + 0.5) / (1000 * len(fitting))
    found, counts = patches.corner(uniform, length, side, tiles).unique(return_counts=True)
    assert found.tolist() == fitting
    assert (counts == 1000).all()


def images_and_patch(share, side=SIDE, count=5):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, side, side, generator=random)
    box = len(patches.disc(share, side, side))
    uniform = torch.rand(count, 3, generator=random, dtype=torch.float64)
    return images, torch.rand(3, box, box, generator=random), uniform


def slow_paste(image, patch, share, top, left):
    """Pixel by pixel, of a patch that is turned already."""
    image, side = image.clone(), patch.shape[-1]
    radius = math.sqrt(share * image.shape[-1] * image.shape[-2] / math.pi)
    for y in range(side):
        for x in range(side):
            if math.hypot(y - (side - 1) / 2, x - (side - 1) / 2) <= radius:
                image[:, top + y, left + x] = patch[:, y, x]
    return image


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_quarter_turns_move_pixels_and_mix_none(share):
    images, patch, uniform = images_and_patch(share, count=8)
    uniform[:, 2] = torch.tensor([0, 0.2, 0.25, 0.3, 0.5, 0.7, 0.75, 0.99])
    seen = patches.paste(images, patch, share, uniform, (6, 6))
    for i, quarters in enumerate([0, 0, 1, 1, 2, 2, 3, 3]):
        starts = [start for start in range(0, SIDE, 4) if start + patch.shape[-1] <= SIDE]
        top, left = (starts[int(u * len(starts))] for u in uniform[i, :2])
        expected = slow_paste(images[i], patch.rot90(quarters, (1, 2)), share, top, left)
        assert torch.equal(seen[i], expected)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_any_turn_is_scipys(share):
    images, patch, uniform = images_and_patch(share)
    uniform[0, 2] = 0
    seen = patches.paste(images, patch, share, uniform)
    for i, (row, column, turn) in enumerate(uniform.tolist()):
        places = SIDE - patch.shape[-1] + 1
        rotated = ndimage.rotate(patch, 360 * turn, (2, 1), reshape=False, order=1, mode="nearest")
        expected = slow_paste(
            images[i], torch.from_numpy(rotated), share, int(row * places), int(column * places)
        )
        assert torch.allclose(seen[i], expected, atol=1e-5)


def test_the_gradient_of_a_patch_is_that_of_finite_differences():
    images, patch, uniform = images_and_patch(0.15, count=2)
    weights = torch.rand(images.shape, dtype=torch.float64)

    def measure(patch):
        return (patches.paste(images.double(), patch, 0.15, uniform) * weights).sum()

    assert torch.autograd.gradcheck(measure, patch.double().requires_grad_())


# ---- crafting ----


class Hues:
    """Pictures of noise with one of four tints, their class."""

    TINTS = torch.tensor([[0.3, 0, 0], [0, 0.3, 0], [0, 0, 0.3], [0.2, 0.2, 0]])

    def __init__(self, images, seed):
        random = torch.Generator().manual_seed(seed)
        self.labels = np.arange(images) % 4
        pixels = 0.7 * torch.rand(images, 3, SIDE, SIDE, generator=random)
        pixels += self.TINTS[self.labels][:, :, None, None]
        self.pixels = (pixels * 255).byte().numpy()
        self.shape = self.pixels.shape[1:]
        self.paths = [f"{seed}/{i}.png" for i in range(images)]

    def read(self, first, last):
        return self.pixels[first:last]


@pytest.fixture(scope="module")
def model():
    """A small CNN that has learnt the tints."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    net = nn.Sequential(net, nn.Flatten(), nn.Linear(16, 4))
    net.pretrained_cfg = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": (3, SIDE, SIDE)}
    model, data = models.Model(net), Hues(400, seed=1)
    images, labels = torch.from_numpy(data.pixels).float() / 255, torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(120):
        chosen = slice(step % 4 * 100, step % 4 * 100 + 100)
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def crafted(
    model, steps=40, shares=(0.25,), seeds=(0,), perturbation="adversarial_patch", data=None, store=None
):
    view = views.View(data or Hues(60, seed=2), "crafting", perturbation, "a_model")
    with tempfile.TemporaryDirectory() as elsewhere:
        return patches.craft(view, model, shares, seeds, steps, 16, store or elsewhere)


def accuracy(model, patch, share=0.25, perturbation="adversarial_patch", batch_images=200):
    """On images that no patch was crafted on."""
    view, hits = views.View(Hues(200, seed=3), "others", perturbation, "a_model"), []
    for first in range(0, 200, batch_images):
        batch = view.batch(first, first + batch_images)
        given = {"model": model, "patches": {patches.key(share, 0): patch}}
        hits.append(model(view.call("apply", batch, share, 0, **given)).argmax(1) == batch.labels)
    return torch.cat(hits).float().mean().item()


@pytest.mark.parametrize("perturbation", ["adversarial_patch", "adversarial_patch_aligned"])
def test_crafting_hurts_more_than_noise_of_the_same_size(model, perturbation):
    patch = crafted(model, perturbation=perturbation)["0.25/0"]
    noise = patches.start(0.25, 0, SIDE, SIDE, "cpu")
    assert patch.dtype == torch.float32 and patch.min() >= 0 and patch.max() <= 1
    assert accuracy(model, noise, share=0, perturbation=perturbation) > 0.95
    assert accuracy(model, noise, perturbation=perturbation) > 0.75
    assert accuracy(model, patch, perturbation=perturbation) < 0.4


def test_a_patch_is_the_same_whatever_else_is_crafted_and_whatever_was_drawn_before(model):
    alone = crafted(model, steps=6)
    torch.manual_seed(99)
    np.random.seed(99)
    among = crafted(model, steps=6, shares=(0.15, 0.25), seeds=(1, 0))
    assert set(among) == {"0.15/0", "0.15/1", "0.25/0", "0.25/1"}
    assert alone["0.25/0"].numpy().tobytes() == among["0.25/0"].numpy().tobytes()
    assert (among["0.25/0"] != among["0.25/1"]).float().mean() > 0.1
    assert accuracy(model, alone["0.25/0"]) == accuracy(model, alone["0.25/0"], batch_images=8)


def test_only_images_that_are_right_are_crafted_on(model):
    data, wrong = Hues(60, seed=2), Hues(60, seed=2)
    wrong.labels = wrong.labels.copy()
    wrong.labels[40:] = (wrong.labels[40:] + 1) % 4
    data.pixels, data.labels, data.paths = data.pixels[:40], data.labels[:40], data.paths[:40]
    same = [crafted(model, steps=5, data=each)["0.25/0"] for each in (data, wrong)]
    assert torch.equal(*same)
    wrong.labels = (data.labels[:1].repeat(60) + np.arange(60) + 1) % 4
    with pytest.raises(ValueError, match="the model gets none of the images of crafting right"):
        crafted(model, steps=5, data=wrong)


def test_every_image_has_its_turn_once_a_pass():
    view = views.View(Hues(30, seed=2), "crafting", "adversarial_patch", "a_model")
    rows = np.arange(3, 28)
    found = patches.batches(view, rows, 0, 7, 10)
    assert found.shape == (7, 10)
    passes = [found.ravel()[start : start + 25] for start in (0, 25)]
    assert all(sorted(each) == rows.tolist() for each in passes)
    assert passes[0].tolist() != passes[1].tolist()
    assert found.tolist() != patches.batches(view, rows, 1, 7, 10).tolist()
    assert patches.batches(view, rows[:4], 0, 3, 10).shape == (3, 4)


def test_the_log_tells_what_crafting_does(model, caplog):
    with caplog.at_level(logging.INFO):
        crafted(model)
    assert "60 of 60 images are classified rightly" in caplog.text
    [line] = [record.getMessage() for record in caplog.records if "before" in record.getMessage()]
    losses = [float(part.split("cross-entropy ")[1].split(",")[0]) for part in line.split("after")]
    top1 = [float(part.split("top-1 ")[1].split("%")[0]) for part in line.split("after")]
    assert losses[1] > losses[0] and top1[1] < top1[0]


def test_a_model_that_gives_no_numbers_is_told(model):
    class Broken(nn.Module):
        def forward(self, pixels):
            return model(pixels) * (math.nan if pixels.requires_grad else 1)

    with pytest.raises(ValueError, match=r"gradients are no numbers in step 1 of the patch 0\.25, seed 0"):
        crafted(Broken())


# ---- planning ----

CONFIG = """\
datasets:
  train: {root: train}
  val: {root: val}
pixels: {resize: 32, crop: 32, interpolation: bilinear}
models:
  vit: {family: vit, timm: vit_tiny_patch16_224}
studies:
  attack: {datasets: val, models: vit, perturbations: adversarial_patch/vit}
patches: {data: train}
seeds: [0]
"""


def problems(tmp_path, old, new):
    assert old in CONFIG
    text = CONFIG.replace(old, new)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    entries = catalogue.variants(catalogue.catalogue(PERTURBATIONS), ["vit"])
    schema = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
    try:
        settings.check(yaml.safe_load(text), schema, [path], entries, {}, {})
    except ValueError as error:
        return str(error).replace(f"{tmp_path}/", "").splitlines()
    return []


def test_the_config_says_on_which_images_patches_are_crafted(tmp_path):
    assert problems(tmp_path, "seeds", "seeds") == []
    assert problems(tmp_path, "adversarial_patch/vit", "random_drop/8x8") == []
    [line] = problems(tmp_path, "patches: {data: train}\n", "")
    assert line.startswith(
        "config.yaml, line 8: studies.attack.perturbations: adversarial patches need images"
    )
    [line] = problems(tmp_path, "data: train", "data: trian")
    assert line.startswith("config.yaml, line 9: patches.data: 'trian' is not known, did you mean 'train'?")
    [line] = problems(tmp_path, "data: train", "data: val")
    assert line.startswith("config.yaml, line 8: studies.attack.datasets: patches are crafted on val and")
    [line] = problems(tmp_path, "data: train", "data: train, step: 3")
    assert "line 9: patches.step is no key of Patchwork, did you mean 'steps'?" in line
    [line] = problems(tmp_path, "seeds", "levels: {adversarial_patch: [0, 0.8]}\nseeds")
    assert "level 0.8 is outside 0 to 0.75 (share of the image covered by the patch)" in line


def image_folder(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_images_that_two_folders_share_are_found_through_links(tmp_path):
    image_folder(tmp_path / "a", ["x/1.png", "x/2.png", "y/3.png"])
    image_folder(tmp_path / "b", ["x/1.png", "x/2.png"])
    first, second = {"root": str(tmp_path / "a")}, {"root": str(tmp_path / "b")}
    assert settings.shared_image(first, second) is None
    assert settings.shared_image(first, first) == "x/1.png"
    os.symlink(tmp_path / "a/y/3.png", tmp_path / "b/x/linked.png")
    assert settings.shared_image(first, second) == "y/3.png"
    assert settings.shared_image(first | {"images": 1}, second) is None  # which is x/1.png
    os.link(tmp_path / "a/x/1.png", tmp_path / "b/x/hard.png")
    assert settings.shared_image(first | {"images": 1}, second) == "x/1.png"
    (tmp_path / "list.txt").write_text("x/2\ny/3\n")
    assert settings.shared_image(first | {"list": str(tmp_path / "list.txt")}, second) == "y/3.png"
    assert settings.shared_image(first, {"draw": "natural"}) is None


def test_images_on_which_patches_are_crafted_and_evaluated_are_told_at_planning(tmp_path):
    project = Project.create(tmp_path / "project")
    project.path("config.yaml").write_text(CONFIG)
    image_folder(project.path("train"), ["x/1.png", "y/2.png"])
    os.symlink("train", project.path("val"))
    told = project.run("--dry-run", check=False)
    assert "patches.data: train holds x/1.png, which is also in val: craft patches on images that" in told
    assert "Job stats" not in told
    project.path("val").unlink()
    image_folder(project.path("val"), ["x/1.png", "y/2.png"])
    assert project.plan()["craft_patch"] == 1
    project.edit("config.yaml", "patches: {data: train}\n", "")
    project.edit("config.yaml", "adversarial_patch/vit", "random_drop/8x8")
    told = project.run("--dry-run", "results/patches/adversarial_patch/vit.safetensors", check=False)
    assert "adversarial patches need images to be crafted on: add `patches: {data: DATASET}`" in told


# ---- the report ----


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Made-up predictions of two models under the patches of both."""
    strips = {
        (perturbation, variant): ("patch", [0, 0.05, 0.25])
        for perturbation in ("adversarial_patch", "adversarial_patch_aligned")
        for variant in ("vit", "cnn")
    } | {("noise_patch", "plain"): ("patch", [0, 0.05, 0.25])}
    study = Study(tmp_path_factory.mktemp("patches"), strips=strips)
    return study, study.build()


def test_the_transfer_matrix_is_what_one_counts_by_hand(built):
    study, path = built
    rows = warehouse.query(path, "FROM patch_transfer").to_pylist()
    assert len(rows) == 2 * (2 * 2 + 1) * 3
    for row in rows:
        variant = row["crafted_on"].replace("(noise)", "plain")
        cells = study.strips[f"{row['model']}/{row['perturbation']}/{variant}"]
        right = [
            [rank == 0 for rank in cell["rank"].to_pylist()]
            for cell in cells
            if cell["level"][0].as_py() == np.float32(row["level"])
        ]
        clean = np.mean(np.array(cells[0]["rank"]) == 0)
        assert row["top1"] == pytest.approx(np.mean(right))
        assert row["fall"] == pytest.approx(100 * (clean - np.mean(right)))
        assert row["white_box"] == (row["crafted_on"] == row["model"])
        assert row["lies"] == ("aligned to tokens" if "aligned" in row["perturbation"] else "any place")
        assert (row["images"], row["seeds"]) == (IMAGES, 1 if row["clean"] else len(SEEDS))
        if row["clean"]:
            interval = binomtest(int(np.sum(right)), IMAGES).proportion_ci(method="wilson")
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
        else:
            assert row["seed_spread"] == pytest.approx(np.std(np.mean(right, axis=1), ddof=1))
            assert row["low"] < row["top1"] < row["high"]
    assert len({row["chance"] for row in rows}) == 1 and rows[0]["chance"] == 1 / CLASSES


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_matrix_has_a_box_for_each_pair_of_models(built, count):
    figure = runpy.run_path(ROOT / "reports/figures/patch_transfer.py")
    rows = warehouse.query(built[1], figure["SQL"])
    assert {"shapes · any place · 5 %", "shapes · aligned to tokens · 25 %"} < {*rows["panel"].to_pylist()}
    [row, *_] = rows.to_pylist()
    names = [f"model{number}" for number in range(count)]
    many = [
        row | {"crafted_on": first, "model": second, "white_box": first == second}
        for first in names
        for second in names
    ]
    chart = figure["chart"](rows.from_pylist(many, rows.schema))
    drawn = json.loads(theme.specification(chart, "A matrix."))
    [values] = drawn["datasets"].values()
    assert len(values) == count**2 and sum(value["white_box"] for value in values) == count


def test_the_curves_are_of_the_white_box_and_of_noise(built):
    figure = runpy.run_path(ROOT / "reports/figures/adversarial_patch.py")
    rows = warehouse.query(built[1], figure["SQL"]).to_pylist()
    assert len(rows) == 2 * (2 + 1) * 3
    panels = {row["panel"]: row["crafted_on"] == row["model"] for row in rows}
    assert panels == {
        "shapes · any place": True,
        "shapes · aligned to tokens": True,
        "shapes · any place · noise": False,
    }


def test_a_patch_that_is_kept_is_not_crafted_again(model, tmp_path, monkeypatch):
    first = crafted(model, steps=2, store=tmp_path)
    monkeypatch.setattr(patches, "ascend", None)
    again = crafted(model, steps=2, store=tmp_path)
    assert [*again] == [*first] == ["0.25/0"] and torch.equal(again["0.25/0"], first["0.25/0"])
    with pytest.raises(TypeError):
        crafted(model, steps=2, seeds=(0, 1), store=tmp_path)
