"""Tokens from one pass against passes by hand, by timm and by models.Model, and what is stored of them."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from patchwork import measuring, models, tokens
from test_information_loss import SMALL, small
from test_measuring import SIDE, VIT, Dataset, model, subject
from test_models import network

OTHERS = ["test_efficientnet", "test_convnext", "test_vit2", "test_vit3", "test_mambaout", "resnet10t"]
OTHERS += ["mobilenetv3_small_050", "efficientvit_m0", "xcit_nano_12_p16_224", "convmixer_768_32"]
WITH_CLASS_TOKEN = [  # that passes all blocks
    "vit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "deit_tiny_distilled_patch16_224",
    "beit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "tnt_s_legacy_patch16_224",
]


def built(name):
    if name in SMALL:
        return small(name)
    looked_at = model(name)
    looked_at.size = tuple(looked_at.net.pretrained_cfg["input_size"][-2:])
    return looked_at


def stored(folder, looked_at, data=None, **how):
    """What `extract` stores and `Tokens` reads."""
    path = folder / "tokens/model.npy"
    tokens.extract(subject(looked_at, data, **how), path)
    return tokens.Tokens(path)


def pixels(data):
    return torch.from_numpy(data.values).float() / 255


def rounded(one):
    """Values as float16 keeps them, to 11 digits, and smaller than 2^-14 in steps."""
    return pytest.approx(one.numpy(), rel=2**-10, abs=2e-6)


# ---- what is read out ----


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
@torch.inference_mode()
def test_the_part_that_decides_is_what_the_head_sees(tmp_path, name):
    looked_at, data = built(name), Dataset(3)
    found = stored(tmp_path, looked_at, data)
    features = looked_at.features(pixels(data))
    kept = found.features([found.decides])
    assert kept.dtype == np.float32 and kept.shape == features.shape
    scale = float(features.abs().max())
    # float16 has 11 digits, and steps of 6e-8 near 0; the rest is rounding of sums.
    assert scale > 0 and kept == pytest.approx(features.numpy(), rel=2**-10, abs=1e-4 * scale + 6e-8)


@pytest.mark.parametrize("name", WITH_CLASS_TOKEN)
@torch.inference_mode()
def test_tokens_of_blocks_are_those_of_the_model(tmp_path, name):
    looked_at, data = built(name), Dataset(3)
    found = stored(tmp_path, looked_at, data)
    second = name == "deit_tiny_distilled_patch16_224"  # registers are no second token
    kinds = ["class", "shape", "patch"] if second else ["class", "patch"]
    blocks = looked_at.tokens(pixels(data))
    parts = [(part["block"], part["token"]) for part in found.parts]
    expected = [(number, kind) for number in range(1, len(blocks) + 1) for kind in kinds]
    assert parts[: len(expected)] == expected and found.depth == len(blocks)
    for number, (prefix, patch) in enumerate(blocks, 1):
        for kind, values in zip(kinds, [*prefix.unbind(1)[: len(kinds) - 1], patch.mean(1)], strict=True):
            assert found.features([parts.index((number, kind))]) == rounded(values)


@torch.inference_mode()
def test_tokens_are_those_of_a_pass_by_hand(tmp_path):
    """Block after block, with a norm whose weights are not those of a beginner."""
    entry = {"timm": "deit_tiny_distilled_patch16_224", "options": VIT}
    looked_at, data = models.Model(network(entry)), Dataset(3)
    looked_at.origin, net = {"timm": entry["timm"]}, looked_at.net
    found = stored(tmp_path, looked_at, data)
    x = net.patch_embed(looked_at.prepare(pixels(data)))
    x = torch.cat([net.cls_token.expand(3, -1, -1), net.dist_token.expand(3, -1, -1), x], 1) + net.pos_embed
    for number, block in enumerate(net.blocks):
        x = block(x)
        normal = net.norm(x)
        for place, values in enumerate([normal[:, 0], normal[:, 1], normal[:, 2:].mean(1)]):
            assert found.features([3 * number + place]) == rounded(values)


@torch.inference_mode()
def test_stages_of_a_cnn_are_means_over_its_maps(tmp_path):
    looked_at, data = built("test_resnet"), Dataset(3)
    net, seen = looked_at.net, []
    for module in (net.act1, net.layer1, net.layer2, net.layer3, net.layer4):
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.mean((2, 3))))
    net(looked_at.prepare(pixels(data)))
    expected = seen[:5]
    found = stored(tmp_path, looked_at, data)
    assert [(part["block"], part["token"]) for part in found.parts] == [(n, "pooled") for n in range(1, 6)]
    assert (found.depth, found.decides) == (5, 4)
    for place, values in enumerate(expected):
        assert found.features([place]) == rounded(values)


@pytest.mark.parametrize(("head", "token"), [(None, "class"), ("class", "class"), ("shape", "shape")])
def test_a_distilled_network_decides_by_the_token_of_its_head(tmp_path, head, token):
    looked_at = model(**VIT)
    looked_at.head = head
    found = stored(tmp_path, looked_at)
    assert (found.parts[found.decides]["block"], found.parts[found.decides]["token"]) == (3, token)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_convnext", "beit_base_patch16_224"])
def test_a_head_that_sees_something_else_than_the_last_block_has_a_part_of_its_own(tmp_path, name):
    found = stored(tmp_path, built(name))
    last = found.parts[-1]
    assert found.decides == len(found.parts) - 1
    assert (last["block"], last["token"]) == (found.depth + 1, "pooled")


def test_a_head_that_averages_normalised_patches_decides_by_the_last_mean_patch_token(tmp_path):
    options = VIT | {"global_pool": "avg", "fc_norm": False}
    found = stored(tmp_path, model("vit_tiny_patch16_224", **options))
    assert (found.parts[found.decides]["block"], found.parts[found.decides]["token"]) == (3, "patch")


# ---- what is stored ----


def test_columns_stand_side_by_side_and_the_digest_is_theirs(tmp_path):
    found = stored(tmp_path, model(**VIT))
    whole = np.load(tmp_path / "tokens/model.npy")
    assert whole.dtype == np.float16 and whole.flags.c_contiguous and len(found) == len(whole) == 5
    ends = np.cumsum([part["width"] for part in found.parts])
    assert [part["first"] for part in found.parts] == [0, *ends[:-1]] and ends[-1] == whole.shape[1]
    assert found.digest == hashlib.blake2b(whole.tobytes(), digest_size=16).hexdigest()
    facts = json.loads((tmp_path / "tokens/model.json").read_text())
    assert {"parts", "depth", "decides", "refused", "digest"} == set(facts) and facts["refused"] is None
    assert [*tmp_path.rglob("*.part")] == []


def test_parts_and_rows_are_read_in_the_order_asked_for(tmp_path):
    found = stored(tmp_path, model(**VIT))
    whole, rows = np.load(tmp_path / "tokens/model.npy").astype(np.float32), np.array([3, 0, 3])
    width = VIT["embed_dim"]
    expected = np.concatenate([whole[rows, 2 * width : 3 * width], whole[rows, :width]], 1)
    assert isinstance(found.array, np.memmap)
    assert (found.features([2, 0], rows) == expected).all()
    assert (found.features(range(9)) == whole).all()


def test_batches_change_nothing(tmp_path):
    one, other = (stored(tmp_path / str(n), model(**VIT), batch_images=n) for n in (2, 5))
    assert one.features(range(9)) == pytest.approx(other.features(range(9)), rel=2**-9, abs=1e-5)


def test_batches_are_halved_when_memory_ends(tmp_path):
    looked_at, seen = model(**VIT), []
    prepare = looked_at.prepare

    def small_memory(images):
        seen.append(len(images))
        if len(images) > 2:
            raise RuntimeError("out of memory")
        return prepare(images)

    looked_at.prepare = small_memory
    found = stored(tmp_path, looked_at, batch_images=4)
    assert (seen[-4:], len(found)) == ([4, 2, 2, 1], 5)
    assert found.features([0]) == pytest.approx(stored(tmp_path / "a", model(**VIT)).features([0]), abs=1e-3)


def test_a_pass_in_a_lower_dtype_is_stored_the_same_way(tmp_path):
    compute, data = {"dtype": "bfloat16", "batch_images": 2}, Dataset()
    path = tmp_path / "tokens.npy"
    tokens.extract(measuring.Subject(model("test_resnet"), data, "set", compute, {}, ()), path)
    exact = stored(tmp_path / "a", model("test_resnet"), data)
    found = tokens.Tokens(path)
    assert found.parts == exact.parts
    assert found.features(range(5)) == pytest.approx(exact.features(range(5)), abs=0.05)
    assert (found.features(range(5)) != exact.features(range(5))).any()


# ---- what is refused ----


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (np.nan, "gives NaN or infinite values for 2.png to 3.png of set"),
        (1e7, "for 3.png of set; float16, in which they are stored, ends at 65504"),
    ],
)
def test_values_that_cannot_be_stored_name_their_images(tmp_path, factor, says):
    looked_at = subject(model("test_resnet"))
    pixels = looked_at.pixels

    def spoilt(first, last):
        factors = torch.where(torch.arange(first, last) == 3, factor, 1)
        return pixels(first, last) * factors[:, None, None, None]

    looked_at.pixels = spoilt
    with pytest.raises(ValueError, match=re.escape(says)):
        tokens.extract(looked_at, tmp_path / "tokens.npy")
    assert [*tmp_path.iterdir()] == []  # neither a part of a file nor what would tell of it


def test_a_network_without_stages_is_refused_with_a_reason(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, SIDE, SIDE)}

        def forward_features(self, x):
            return x.mean((2, 3))

        def forward_head(self, x, pre_logits=False):
            return x

    looked_at = models.Model(Odd())
    found = stored(tmp_path, looked_at)
    assert found.refused == "timm tells no stages of Odd" and found.decides is None
    assert found.parts == [] and found.array.shape == (5, 0) and found.depth == 0


def test_a_network_without_one_vector_is_refused(tmp_path):
    found = stored(tmp_path, model("test_resnet", global_pool=""))
    assert "no one vector of features" in found.refused and found.array.shape == (5, 0)
