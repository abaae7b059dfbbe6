"""T2T-ViT against a slow program that knows the public checkpoints alone: names, shapes, counts and values.

That program is plain numpy, in float64 and one image at a time, after models/*.py of yitu-opensource/T2T-ViT.
"""

import argparse
import math
import re

import numpy as np
import pytest
import torch
from timm.optim import create_optimizer_v2

from conftest import ROOT
from patchwork import dino, fetching, models, operations, provenance, saliency, t2t_vit, tokens
from patchwork.measures import attention, block_accuracy
from patchwork.perturbations import feature_drop, random_drop
from plain_vit import Program, gelu
from test_block_accuracy import Labelled, expected, ranks
from test_hooks import by_hand, keys
from test_measuring import Dataset, subject

SIZES = {7: (256, 7, 4, 2), 14: (384, 14, 6, 3), 24: (512, 24, 8, 3)}  # width, blocks, heads, MLP ratio
SMALL = {"img_size": 32, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}


# ---- the public checkpoints ----


def public_shapes(width, blocks, ratio, side=224, classes=1000):
    """The names and shapes of a public state dict."""

    def layer(name, inputs, outputs, bias=True):
        return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})

    def norm(name, inputs):
        return {f"{name}.weight": (inputs,), f"{name}.bias": (inputs,)}

    found = {"cls_token": (1, 1, width), "pos_embed": (1, 1 + (side // 16) ** 2, width)}
    for name, inputs in [("attention1", 3 * 7 * 7), ("attention2", 64 * 3 * 3)]:
        name = f"tokens_to_token.{name}"
        found |= {f"{name}.w": (32, 64)} | norm(f"{name}.norm1", inputs) | norm(f"{name}.norm2", 64)
        found |= layer(f"{name}.kqv", inputs, 3 * 64) | layer(f"{name}.proj", 64, 64)
        found |= layer(f"{name}.mlp.0", 64, 64) | layer(f"{name}.mlp.2", 64, 64)
    found |= layer("tokens_to_token.project", 64 * 3 * 3, width)
    for number in range(blocks):
        name = f"blocks.{number}"
        found |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        found |= layer(f"{name}.attn.qkv", width, 3 * width, bias=False)
        found |= layer(f"{name}.attn.proj", width, width)
        found |= layer(f"{name}.mlp.fc1", width, ratio * width)
        found |= layer(f"{name}.mlp.fc2", ratio * width, width)
    return found | norm("norm", width) | layer("head", width, classes)


def public_state(*size, **more):
    """The state dict of a public checkpoint, all of it random."""
    draw = torch.Generator().manual_seed(0)
    return {name: drawn(name, shape, draw) for name, shape in public_shapes(*size, **more).items()}


def drawn(name, shape, draw):
    """Random weights that make neither attention flat nor the features of performers vanish."""
    if len(shape) == 1:
        return torch.rand(shape, generator=draw) + (
            0.5 if re.match(r"blocks.*norm\d\.weight", name) else -0.3
        )
    deviation = 0.7 if name.endswith(".w") else 1 if len(shape) == 3 else shape[1] ** -0.5
    return torch.randn(shape, generator=draw) * deviation


def windows(maps, side, stride, padding):
    """The values of each window, channel by channel: [channels, H, W] -> [windows, values]."""
    maps = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
    starts = [range(0, length - side + 1, stride) for length in maps.shape[1:]]
    return np.stack([maps[:, y : y + side, x : x + side].ravel() for y in starts[0] for x in starts[1]])


def slow(state, image, heads):
    """Logits [classes], tokens after each block [blocks, tokens, width] and attention of each block [blocks,
    heads, tokens, tokens] of one image that is normalised, float [3, H, W]."""
    program = Program(state)
    layer, norm = program.layer, program.norm

    def performer(name, x):
        w = program.state[f"{name}.w"]

        def features(x):
            return np.exp(x @ w.T - (x**2).sum(1, keepdims=True) / 2) / math.sqrt(len(w))

        key, query, value = np.split(layer(f"{name}.kqv", norm(f"{name}.norm1", x)), 3, axis=1)
        kernel = features(query) @ features(key).T  # of all pairs of tokens, which a performer never forms
        x = value + layer(f"{name}.proj", kernel @ value / (kernel.sum(1, keepdims=True) + 1e-8))
        return x + layer(f"{name}.mlp.2", gelu(layer(f"{name}.mlp.0", norm(f"{name}.norm2", x))))

    def as_map(x, step):
        return x.T.reshape(64, image.shape[1] // step, image.shape[2] // step)

    x = performer("tokens_to_token.attention1", windows(image.double().numpy(), 7, 4, 2))
    x = performer("tokens_to_token.attention2", windows(as_map(x, 4), 3, 2, 1))
    x = layer("tokens_to_token.project", windows(as_map(x, 8), 3, 2, 1))
    return program.encode(x, heads, scale=(x.shape[1] / heads) ** -0.5)


def pictures(images, side):
    """Images whose upper half is nearly grey, where the smallest number in a norm decides."""
    found = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    found[:, :, : side // 2] = 0.45 + found[:, :, : side // 2] / 100
    return found


@pytest.mark.parametrize(
    ("number", "parameters", "millions"),
    [(7, 4_310_222, 4.3), (14, 21_545_550, 21.5), (24, 64_105_934, 64.1)],
)
def test_names_shapes_and_counts_are_those_of_the_public_checkpoints(number, parameters, millions):
    width, blocks, _, ratio = SIZES[number]
    with torch.device("meta"):
        net = models.create({"timm": f"t2t_vit_{number}"})
        public = {name: torch.empty(shape) for name, shape in public_shapes(width, blocks, ratio).items()}
    named = t2t_vit.checkpoint_filter_fn(public, net)
    assert {name: value.shape for name, value in named.items()} == {
        name: value.shape for name, value in net.state_dict().items()
    }
    assert sum(math.prod(shape) for shape in public_shapes(width, blocks, ratio).values()) == parameters
    assert sum(value.numel() for value in net.parameters()) == parameters
    assert abs(parameters / 1e6 - millions) <= 0.05  # as published


@pytest.mark.parametrize(("number", "published"), [(7, 1.1e9), (14, 4.8e9)])
def test_planning_counts_the_multiplications_that_were_published(number, published):
    entry = {"timm": f"t2t_vit_{number}", "options": None, "size": None}
    assert operations.count(entry) / 2 == pytest.approx(published, rel=0.05)


WHOLE = {
    "t2t_vit_7": {},
    "t2t_vit_14": {"img_size": 64, "depth": 3},
    "t2t_vit_24": {"img_size": 32, "depth": 2},
}


@pytest.mark.parametrize("name", WHOLE)
@torch.inference_mode()
def test_values_are_those_of_the_public_code(name):
    options = WHOLE[name]
    width, blocks, heads, ratio = SIZES[int(name.rpartition("_")[2])]
    side = options.get("img_size", 224)
    state = public_state(width, options.get("depth", blocks), ratio, side=side)
    net = models.create({"timm": name, "options": options}).eval()
    models.fit(net, t2t_vit.checkpoint_filter_fn(state, net), "public")
    model, images = models.Model(net), pictures(1, side)
    logits, after, attended = slow(state, model.prepare(images)[0], heads)
    assert logits.std() > 0.1 and attended.std() > 1e-3

    def close(found, expected):
        return np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()

    assert close(model(images)[0], logits)
    assert close(model.features(images) @ state["head.weight"].T + state["head.bias"], logits[None])
    for (prefix, patch), expected_tokens in zip(model.tokens(images, norm=False), after, strict=True):
        assert close(torch.cat([prefix, patch], 1)[0], expected_tokens)
    for maps, expected_maps in zip(model.attention(images), attended, strict=True):
        assert close(maps[0], expected_maps)
    [last] = net.get_intermediate_layers(model.prepare(images), return_prefix_tokens=True)
    assert close(torch.cat(last[::-1], 1)[0], after[-1])


def test_a_new_network_starts_as_the_public_code_does():
    torch.manual_seed(0)
    net = models.create({"timm": "t2t_vit_7"})
    assert (net.pretrained_cfg["crop_pct"], net.pretrained_cfg["interpolation"]) == (0.9, "bicubic")
    assert net.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert net.pretrained_cfg["std"] == (0.229, 0.224, 0.225)
    for place in (0, 1, 196):
        for column in (0, 1, 2, 101, 254, 255):
            angle = place / 10000 ** (2 * (column // 2) / 256)
            value = math.cos(angle) if column % 2 else math.sin(angle)
            assert net.pos_embed[0, place, column].item() == pytest.approx(value, abs=1e-6)
    fixed = {name for name, value in net.named_parameters() if not value.requires_grad}
    performers = [net.patch_embed.proj.attention1, net.patch_embed.proj.attention2]
    assert fixed == {"pos_embed"} | {f"patch_embed.proj.attention{n}.w" for n in (1, 2)}
    for performer in performers:
        assert torch.allclose(performer.w @ performer.w.T, 32 * torch.eye(32), atol=1e-4)
        assert [m.p for m in performer.modules() if isinstance(m, torch.nn.Dropout)] == [0.1, 0.1]
    assert 0.01 < net.cls_token.std() < 0.03 and 0.015 < performers[0].kqv.weight.std() < 0.025
    assert {m.eps for m in net.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}


def test_training_changes_all_but_directions_and_positions():
    net = models.create({"timm": "t2t_vit_7", "options": SMALL}).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = create_optimizer_v2(net, "adamw", lr=0.1, weight_decay=0.1)
    net(pictures(4, 32)).square().sum().backward()
    optimizer.step()
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in same} == {"pos_embed", "w"}


def wrapped(state):
    """As timm of that time saved a training."""
    return {
        "epoch": 300,
        "arch": "t2t_vit_7",
        "state_dict": {name: torch.zeros_like(value) for name, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]},
        "version": 2,
        "args": argparse.Namespace(model="t2t_vit_7"),
        "state_dict_ema": state,
        "metric": 71.7,
    }


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.inference_mode()
def test_a_public_checkpoint_becomes_a_model(tmp_path, prefix):
    state = public_state(256, 7, 2, side=32, classes=5)
    torch.save(
        wrapped({prefix + name: value for name, value in state.items()}), tmp_path / "71.7_T2T_ViT_7.pth.tar"
    )
    entry = {
        "timm": "t2t_vit_7",
        "options": {"img_size": 32, "num_classes": 5},
        "weights": str(tmp_path / "71.7_T2T_ViT_7.pth.tar"),
    }
    fetching.fetch("t2t_7", entry, tmp_path / "weights.safetensors")
    model, images = models.build(entry, tmp_path / "weights.safetensors"), pictures(1, 32)
    logits, *_ = slow(state, model.prepare(images)[0], 4)
    assert np.abs(model(images)[0].numpy() - logits).max() < 1e-5 * np.abs(logits).max()
    again = fetching.read_checkpoint(tmp_path / "weights.safetensors", model.net)  # of Patchwork's own names
    assert again.keys() == model.net.state_dict().keys()


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path):
    state = public_state(256, 7, 2, side=32)
    del state["tokens_to_token.attention2.w"]
    torch.save({"state_dict_ema": state}, tmp_path / "w.pth.tar")
    entry = {"timm": "t2t_vit_7", "options": {"img_size": 32}, "weights": str(tmp_path / "w.pth.tar")}
    with pytest.raises(ValueError, match=r"w\.pth\.tar does not fit T2TViT: it misses .*attention2\.w$"):
        fetching.fetch("t2t_7", entry, tmp_path / "weights.safetensors")


def test_without_a_file_of_weights_one_is_asked_for():
    with pytest.raises(ValueError, match=r"weights of t2t_vit_14 cannot be used .*`weights: PATH`$"):
        fetching.pretrained({"timm": "t2t_vit_14", "options": SMALL})


@pytest.mark.parametrize(
    ("options", "says"),
    [({"img_size": 40}, "img_size must be a multiple of 16"), ({"patch_size": 8}, "whatever patch_size")],
)
def test_sizes_that_its_tokens_cannot_have_are_refused(options, says):
    with pytest.raises(ValueError, match=f"'t2t_vit_14' refuses options .*{says}"):
        models.create({"timm": "t2t_vit_14", "options": SMALL | options})


# ---- as any vision transformer ----


def small(**options):
    """A small model, all of it random, that tells five classes apart."""
    net = models.create({"timm": "t2t_vit_7", "options": SMALL | options}).eval()
    draw = torch.Generator().manual_seed(2)
    for name, value in net.state_dict().items():
        value.copy_(drawn(name, value.shape, draw))
    model = models.Model(net)
    model.origin = {"timm": "t2t_vit_7"}
    return model


@torch.inference_mode()
def test_features_are_dropped_in_a_block():
    model, images = small(), pictures(3, 32)
    untouched = model(images)
    for block in range(3):
        with feature_drop.inside(model, block + 1, keys(), "zero_50"):
            zeroed = model(images)
        with feature_drop.inside(model, block + 1, keys(), "mask_50"):
            maps = model.attention(images)[block]
        chosen = feature_drop.chosen(keys(), 4, "zero_50")
        for number, image in enumerate(images):
            kept = torch.cat([torch.tensor([True]), ~chosen[number]])
            by_one = by_hand(model, image, lambda x, kept=kept: x * kept[:, None], block)
            assert torch.allclose(by_one, zeroed[number], atol=1e-5)
            assert (maps[number][..., ~kept] == 0).all() and (maps[number][..., kept] > 0).all()
        assert not torch.allclose(zeroed, untouched, atol=1e-3)
    assert feature_drop.refuses(model, 3, "mask_50") is None
    assert "has 3 blocks or stages" in feature_drop.refuses(model, 4, "zero_50")


@torch.inference_mode()
def test_tokens_of_dropped_tiles_are_taken_out():
    model, images = small(img_size=64), pictures(3, 64)
    numbers = torch.rand(3, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert random_drop.refuses(model, 0.5, "4x4_removed") is None
    with random_drop.inside(model, 0.5, numbers, "4x4_removed"):
        removed = model(images)
    for number, image in enumerate(images):
        kept = [0, *(1 + numbers[number, :16].argsort()[8:].sort().values).tolist()]
        by_one = by_hand(model, image, lambda x, kept=kept: x[:, kept], 0)
        assert torch.allclose(by_one, removed[number], atol=1e-5)
    assert not torch.allclose(removed, model(images), atol=1e-3)


@torch.inference_mode()
def test_tokens_of_every_block_are_stored(tmp_path):
    model, data = small(), Dataset(3)
    tokens.extract(subject(model, data), tmp_path / "model.npy")
    stored = tokens.Tokens(tmp_path / "model.npy")
    assert stored.refused is None and stored.depth == 3
    assert [part["token"] for part in stored.parts] == ["class", "patch"] * 3
    assert stored.parts[stored.decides] == stored.parts[4]
    for number, (prefix, patch) in enumerate(model.tokens(torch.from_numpy(data.values) / 255)):
        for place, values in enumerate([prefix[:, 0], patch.mean(1)]):
            found = stored.features([2 * number + place])
            assert found == pytest.approx(values.numpy(), rel=2**-10, abs=1e-4)


@torch.inference_mode()
def test_blocks_answer_through_the_head():
    model, data = small(), Labelled()
    found, images = ranks(model, data, batch_images=40), torch.from_numpy(data.values) / 255
    assert found.shape == (40, 3) and (found[:, 0] != found[:, -1]).any()
    assert (found[:, -1] == expected(model(images), data.labels)).all()
    assert block_accuracy.refuses(model) is None


@torch.inference_mode()
def test_where_it_attends_is_a_foreground_and_a_measure(tmp_path):
    model, data = small(img_size=64), Dataset(3, side=64)
    images = torch.from_numpy(data.values) / 255
    seen = model.attention(images)[-1][:, :, 0, 1:].double().mean(1)
    expected_mass = (seen / seen.sum(1, keepdim=True)).view(3, 4, 4)
    assert torch.allclose(saliency.mass(model, images, "mean"), expected_mass)
    settings = attention.SETTINGS | {"grid": "4x4"}
    found, _ = attention.measure(subject(model, data, settings=settings))
    assert attention.refuses(model) is None and attention.distances(model)[0, 1] == 16
    assert {block for block in found["block"]} == {1, 2, 3}


@torch.inference_mode()
def test_images_of_other_sizes_are_for_copies():
    model, images = small(), pictures(2, 64)
    larger = models.resized(model, (48, 64))
    assert larger.grid == (3, 4) and model.grid == (2, 2)
    assert larger(images[:, :, :48]).shape == (2, 5)
    net = dino.backbone({"timm": "t2t_vit_7", "options": SMALL})
    fixed = models.create({"timm": "t2t_vit_7", "options": SMALL}, 0)
    fixed.load_state_dict(net.state_dict())
    assert torch.allclose(net.eval()(images[..., :32, :32]), fixed.eval()(images[..., :32, :32]), atol=1e-6)
    assert net(images).shape == (2, 24)


def test_programs_with_models_are_fingerprinted_with_it():
    root = ROOT / "scripts"
    _, imported = provenance.read(root / "patchwork/models.py", root)
    assert root / "patchwork/t2t_vit.py" in imported
