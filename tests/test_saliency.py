"""What is salient: attention, its rank, and what the perturbations make of it.

The references are the authors' rule written out, attention computed from the weights and pixels.
"""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchwork import fetching, foreground, models, packed, saliency, warehouse
from patchwork.views import View
from test_models import DEIT, REGISTERS, VIT, attention_by_hand, network, pictures

COMPUTE = {"device": "cpu", "dtype": "float32", "batch_images": 4, "channels_last": True}
LEVELS = [k / 10 for k in range(10)]


def random_mass(images=20, rows=14, columns=14, seed=0):
    """Made-up attention, sharper than uniform: float64 [N, rows, columns]."""
    values = np.random.default_rng(seed).exponential(size=(images, rows, columns)) ** 2
    return torch.from_numpy(values / values.sum((1, 2), keepdims=True))


class Dataset:
    """Random images that need no file."""

    def __init__(self, images, side=28):
        self.pixels = np.random.default_rng(0).integers(1, 256, (images, 3, side, side), np.uint8)
        self.labels, self.paths = np.zeros(images, np.int64), [f"{i}.png" for i in range(images)]

    def read(self, first, last):
        return self.pixels[first:last]


def dropped(name, ranks, level):
    """The tiles that a perturbation/variant drops, bool [N, rows, columns]: images have a pixel a tile."""
    data = Dataset(len(ranks))
    data.pixels = np.ones((len(ranks), 3, *ranks.shape[1:]), np.uint8)
    view = View(data, "set", *name.split("/"))
    view.arrays = {"saliency": ranks.numpy()} if "salient" in name else {}
    return view.perturb(view.batch(0, len(ranks)), level, 0)[1][:, 0]


# ---- rank, and what the perturbations make of it ----


def authors(attention, share):
    """evaluate.py of the authors for one image: True for the patches that they call salient."""
    attention = attention.ravel()
    order = np.argsort(attention)
    value = attention[order] / attention.sum()
    above = np.cumsum(value) > 1 - share
    return above[np.argsort(order)]


@pytest.mark.parametrize("share", [*LEVELS[1:], 1])
def test_the_mass_rule_is_the_authors(share):
    mass = random_mass()
    expected = np.stack([authors(m.numpy(), share) for m in mass]).reshape(mass.shape)
    ranks = saliency.rank(mass)
    assert np.array_equal(dropped("salient_drop/mass", ranks, share), expected)
    # They keep what they call salient; the level here is the share of what goes.
    assert np.array_equal(dropped("nonsalient_drop/mass", ranks, round(1 - share, 6)), ~expected)


def test_ranks_by_hand():
    ranks = saliency.rank(torch.tensor([[[0.125, 0.5], [0.25, 0.125]]]).double())
    assert ranks.tolist() == [[[0.75, 0], [0.5, 0.875]]] and ranks.dtype == torch.float32
    salient = {q: dropped("salient_drop/mass", ranks, q)[0].int().tolist() for q in (0, 0.5, 0.51, 0.9, 1)}
    assert salient == {
        **{0: [[0, 0], [0, 0]], 0.5: [[0, 1], [0, 0]], 0.51: [[0, 1], [1, 0]]},
        **{0.9: [[1, 1], [1, 1]], 1: [[1, 1], [1, 1]]},
    }
    others = {q: dropped("nonsalient_drop/mass", ranks, q)[0].int().tolist() for q in (0, 0.1, 0.2, 0.6, 1)}
    assert others == {
        **{0: [[0, 0], [0, 0]], 0.1: [[0, 0], [0, 0]], 0.2: [[0, 0], [0, 1]]},
        **{0.6: [[1, 0], [1, 1]], 1: [[1, 1], [1, 1]]},
    }


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), level=st.integers(0, 100), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_what_is_dropped_holds_as_much_mass_as_the_level_says_and_no_tile_too_many(
    seed, level, rows, columns
):
    level, mass = level / 100, random_mass(3, rows, columns, seed)
    ranks = saliency.rank(mass)
    salient = dropped("salient_drop/mass", ranks, level)
    held = (mass * salient).sum((1, 2))
    least = torch.where(salient, mass, math.inf).flatten(1).min(1).values.clamp(max=1)
    assert (held >= level - 1e-6).all()
    assert (held - least < level + 1e-6).all() or not level
    lost = (mass * dropped("nonsalient_drop/mass", ranks, level)).sum((1, 2))
    assert (lost <= level + 1e-6).all()


def test_a_mass_all_on_one_tile_and_the_same_on_all():
    alone = torch.zeros(1, 14, 14).double()
    alone[0, 3, 4] = 1
    ranks = saliency.rank(alone)
    assert dropped("salient_drop/mass", ranks, 0.1).nonzero().tolist() == [[0, 3, 4]]
    assert dropped("salient_drop/mass", ranks, 1).all()
    assert not dropped("nonsalient_drop/mass", ranks, 0).any()
    assert (~dropped("nonsalient_drop/mass", ranks, 0.1)).nonzero().tolist() == [[0, 3, 4]]
    even = saliency.rank(torch.full((1, 8, 8), 1 / 64).double())
    assert torch.equal(even.flatten(), torch.arange(64) / 64)


@pytest.mark.parametrize("level", [*LEVELS, 1])
def test_area_variants_drop_as_many_tiles_as_random_drop(level):
    mass = random_mass()
    ranks = saliency.rank(mass)
    number = dropped("random_drop/14x14", ranks, level).sum((1, 2))
    salient, others = (dropped(f"{name}_drop/area", ranks, level) for name in ("salient", "nonsalient"))
    assert torch.equal(salient.sum((1, 2)), number) and torch.equal(others.sum((1, 2)), number)
    order = mass.flatten(1).argsort(1)  # without ties
    for found, chosen in [(salient, order.flip(1)), (others, order)]:
        for image in range(len(mass)):
            assert set(found[image].flatten().nonzero()[:, 0].tolist()) == set(
                chosen[image, : number[image]].tolist()
            )


# ---- redistribution ----


@settings(max_examples=40, deadline=None)
@given(*(st.integers(1, 12) for _ in range(4)))
def test_redistribution_is_what_pixels_say(old_rows, old_columns, rows, columns):
    mass = random_mass(2, old_rows, old_columns)
    found = saliency.redistributed(mass, rows, columns)
    tall, wide = math.lcm(old_rows, rows), math.lcm(old_columns, columns)  # pixels that no border cuts
    for image in range(2):
        canvas = np.kron(mass[image].numpy(), np.ones((tall // old_rows, wide // old_columns)))
        canvas /= (tall // old_rows) * (wide // old_columns)
        for row in range(rows):
            for column in range(columns):
                tile = canvas[row * tall // rows :, column * wide // columns :]
                tile = tile[: tall // rows, : wide // columns]
                assert found[image, row, column] == pytest.approx(tile.sum(), abs=1e-12)
    assert torch.allclose(found.sum((1, 2)), torch.ones(2).double())


def test_the_same_grid_takes_mass_as_it_is():
    mass = random_mass(2)
    assert torch.equal(saliency.redistributed(mass, 14, 14), mass)


# ---- attention ----


@pytest.mark.parametrize(
    ("entry", "side", "prefix", "grid"), [(VIT, 32, 1, 4), (DEIT, 32, 2, 2), (REGISTERS, 28, 5, 2)]
)
@pytest.mark.parametrize("head", [0, 1, 2, "mean"])
@torch.no_grad()
def test_mass_is_the_class_tokens_attention_to_patches_in_the_last_block(entry, side, prefix, grid, head):
    # VIT is normalised by 0.5, the others by ImageNet's statistics.
    net, images = network(entry), pictures(size=side)
    attention = attention_by_hand(net, images, 1)[:, :, 0, prefix:]
    weights = attention.mean(1) if head == "mean" else attention[:, head]
    expected = (weights / weights.sum(1, keepdims=True)).reshape(3, grid, grid)
    found = saliency.mass(models.Model(net), images, head)
    assert found.dtype == torch.float64
    assert np.abs(found.numpy() - expected).max() < 1e-5 < expected.std()


def test_only_the_last_attention_is_formed():
    net = network(VIT)
    model = models.Model(net)
    [last] = model.attention(pictures(), last=1)
    first, second = model.attention(pictures())
    assert torch.allclose(last, second, atol=1e-6) and not torch.allclose(last, first, atol=1e-3)


def test_a_head_that_is_not_there_is_told_with_its_key():
    with pytest.raises(ValueError, match=r"saliency\.head: there are heads 0 to 2 and `mean`, no 3"):
        saliency.mass(models.Model(network(VIT)), pictures(), 3)


@pytest.mark.parametrize(
    "entry", [{"timm": "resnet10t"}, {"timm": "test_vit3", "options": {"img_size": 32}}], ids=str
)
def test_a_network_without_a_class_token_is_told(entry):
    with pytest.raises(ValueError, match=r"saliency: .* has no class token"):
        saliency.mass(models.Model(models.create(entry).eval()), pictures(), "mean")


def test_a_backbone_without_a_head_is_fetched_and_built(tmp_path):
    entry = {"timm": "vit_small_patch16_224.dino", "weights": str(tmp_path / "dino.pth")}
    torch.manual_seed(0)
    torch.save(models.create(entry).state_dict(), entry["weights"])
    fetching.fetch("dino", entry, tmp_path / "dino.safetensors")
    model = models.build(entry, tmp_path / "dino.safetensors")
    assert model.net.num_classes == 0
    assert torch.allclose(model.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert saliency.mass(model, pictures(1), 5).shape == (1, 14, 14)


def test_a_network_that_learnt_no_classes_is_built_as_one(tmp_path):
    net = models.create(VIT, 0).eval()
    models.save(tmp_path / "net.safetensors", net.state_dict(), classes=[])
    model = models.build(VIT, tmp_path / "net.safetensors")
    assert model.net.num_classes == 0
    expected = saliency.mass(models.Model(net), pictures(), 1)
    assert torch.equal(saliency.mass(model, pictures(), 1), expected)
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 learnt no classes"):
        models.build(VIT, tmp_path / "net.safetensors", ["cat", "dog"])


@pytest.mark.parametrize("grid", ["4x4", "3x5"])
def test_the_size_of_batches_does_not_matter(grid):
    model, data = models.Model(network(VIT)), Dataset(7)
    many, one = (
        saliency.ranks(model, data, COMPUTE | {"batch_images": images}, "mean", grid) for images in (7, 1)
    )
    assert many.shape == (7, *map(int, grid.split("x"))) and many.dtype == torch.float32
    assert torch.allclose(many, one, atol=1e-5)
    again = saliency.ranks(model, data, COMPUTE | {"batch_images": 3}, "mean", grid)
    assert torch.allclose(many, again, atol=1e-5)
    assert len(torch.unique(many[:, 0])) > 7  # images differ


def test_a_lower_number_format_finds_about_the_same():
    model, data = models.Model(network(VIT)), Dataset(5)
    exact, rough = (
        saliency.ranks(model, data, COMPUTE | {"dtype": dtype}, "mean", "4x4")
        for dtype in ("float32", "bfloat16")
    )
    assert not torch.equal(exact, rough)
    assert (exact.flatten(1).argmin(1) == rough.flatten(1).argmin(1)).float().mean() >= 0.8


# ---- the whole ----


def test_a_run_maps_what_its_model_attends_to(finished):
    ranks = np.load(finished.path("results/saliency/shapes/vit.npy"))
    assert ranks.shape == (20, 4, 4) and ranks.dtype == np.float32
    entry = {"timm": "test_vit", "options": {"img_size": 32, "patch_size": 8}}
    model = models.build(entry, finished.path("results/weights/trained/vit.safetensors"))
    data = packed.Packed(
        finished.path("results/images/shapes.npy"), finished.path("results/images/shapes.parquet")
    )
    images = torch.from_numpy(data.read(0, 20)).float() / 255
    attention = attention_by_hand(model.net, images, len(model.net.blocks) - 1).mean(1)[:, 0, 1:]
    for rank, weights in zip(ranks.reshape(20, 16), attention, strict=True):
        weights = weights / weights.sum()
        assert rank == pytest.approx([weights[weights > w].sum() for w in weights], abs=1e-4)
    strip = pq.read_table(finished.path("results/predictions/shapes/vit/salient_drop/area.parquet"))
    assert set(zip(strip["level"].to_pylist(), strip["lost"].to_pylist(), strict=True)) == {
        (0, 0),
        (0.5, 0.5),
    }
    scores = pq.read_table(finished.path("results/foreground/shapes/vit.parquet"))
    assert len(scores) == 20 * 9 and scores.schema.equals(foreground.SCORES)
    # Another network is scored beside it; no perturbation asks what it attends to.
    beside = np.load(finished.path("results/saliency/shapes/vit_random.npy"))
    assert beside.shape == ranks.shape and not np.array_equal(beside, ranks)
    other = models.build(entry, finished.path("results/weights/fetched/vit_random.safetensors"))
    attention = attention_by_hand(other.net, images, len(other.net.blocks) - 1).mean(1)[:, 0, 1:]
    assert np.array_equal(beside.reshape(20, 16).argmin(1), attention.argmax(1))
    found = warehouse.query(
        finished.path("results/warehouse.duckdb"),
        "FROM foreground SELECT DISTINCT model ORDER BY ALL",
    )
    assert [row["model"] for row in found.to_pylist()] == ["dino", "vit", "vit_random"]
    assert not finished.path("results/predictions/shapes/vit_random").exists()
