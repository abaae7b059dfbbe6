"""Models as functions of pixels: normalised and resized inside, weights that fit or are refused.

The references are torchvision's normalisation, PIL's resize, and attention computed from the weights.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import normalize

from conftest import ROOT
from patchwork import fetching, models

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VIT = {
    "timm": "vit_tiny_patch16_224",
    "options": {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 5,
    },
}
DEIT = {
    "timm": "deit_tiny_distilled_patch16_224",
    "options": {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5},
}
CNN = {
    "timm": "resnet10t",
    "size": 32,
    "options": {"channels": [8, 8, 8, 8], "stem_width": 4, "num_classes": 5},
}
REGISTERS = {
    "timm": "vit_small_patch14_reg4_dinov2",
    "options": {"img_size": 28, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5},
}
CLASSES = ["ant", "bee", "cat", "dog", "eel"]


def network(entry, seed=0):
    """A network whose every weight is random, so that no part of it can be left out unnoticed."""
    torch.manual_seed(seed)
    net = models.create(entry).eval()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(
                torch.rand_like(value) * 0.4 + 0.1 if value.ndim < 2 else torch.randn_like(value) * 0.2
            )
    return net


def pictures(images=3, size=32):
    return torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(1))


# ---- Model ----


@pytest.mark.parametrize("entry", [VIT, DEIT, CNN, REGISTERS], ids=lambda entry: entry["timm"])
@torch.no_grad()
def test_a_model_is_its_network_on_normalised_pixels(entry):
    net = network(entry)
    facts = timm.get_pretrained_cfg(entry["timm"])
    model = models.Model(net, entry.get("size") and (entry["size"], entry["size"]))
    size = model.size[0]
    expected = net(normalize(pictures(size=size), facts.mean, facts.std))
    logits = model(pictures(size=size))
    assert logits.shape == (3, 5) and logits.std() > 1e-3
    assert torch.allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_each_network_has_the_statistics_of_its_weights():
    assert timm.get_pretrained_cfg("vit_tiny_patch16_224").mean == (0.5, 0.5, 0.5)
    for entry, mean, std in [(VIT, (0.5,) * 3, (0.5,) * 3), (DEIT, *IMAGENET)]:
        prepared = models.Model(network(entry)).prepare(
            torch.tensor(mean).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        )
        assert prepared.abs().max() < 1e-6
        ones = models.Model(network(entry)).prepare(torch.ones(1, 3, 32, 32))[0, :, 5, 5]
        assert torch.allclose(ones, (1 - torch.tensor(mean)) / torch.tensor(std))


@pytest.mark.parametrize("shape", [(64, 64), (20, 20), (48, 32)])
def test_images_of_another_size_are_resized_as_pil_does(shape):
    images = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(2))
    prepared = models.Model(network(DEIT)).prepare(images)
    for channel in range(3):
        plane = Image.fromarray(images[0, channel].numpy()).resize((32, 32), Image.Resampling.BICUBIC)
        expected = (np.asarray(plane).clip(0, 1) - IMAGENET[0][channel]) / IMAGENET[1][channel]
        assert np.abs(prepared[0, channel].numpy() - expected).max() < 1e-4


def test_the_size_is_the_entrys_or_the_networks_or_that_of_its_weights():
    assert models.Model(network(VIT)).size == (32, 32)
    assert models.Model(network(CNN), (40, 40)).size == (40, 40)
    assert models.Model(network(CNN)).size == timm.get_pretrained_cfg("resnet10t").input_size[1:]


# ---- tokens and attention ----


@pytest.mark.parametrize(("entry", "prefix", "patches"), [(VIT, 1, 16), (DEIT, 2, 4), (REGISTERS, 5, 4)])
@torch.no_grad()
def test_the_last_tokens_are_the_features_before_the_head(entry, prefix, patches):
    net = network(entry)
    facts = net.pretrained_cfg
    images = pictures(size=net.patch_embed.img_size[0])
    features = net.forward_features(normalize(images, facts["mean"], facts["std"]))
    tokens = models.Model(net).tokens(images)
    assert len(tokens) == len(net.blocks)
    assert {part.shape for part, _ in tokens} == {(3, prefix, net.embed_dim)}
    assert {part.shape for _, part in tokens} == {(3, patches, net.embed_dim)}
    assert torch.allclose(torch.cat(tokens[-1], 1), features, atol=1e-5)
    assert not torch.allclose(tokens[0][0], tokens[-1][0])


def test_a_register_is_no_class_token():
    net = network({"timm": "test_vit3", "options": {"img_size": 32}})
    assert net.num_prefix_tokens == 1 and net.cls_token is None
    with pytest.raises(ValueError, match="VisionTransformer has no class token"):
        models.Model(net).tokens(pictures())


@torch.no_grad()
def test_the_class_token_comes_first():
    net = network(DEIT)
    class_token, distilled = models.Model(net).tokens(pictures())[-1][0].unbind(1)
    logits = models.Model(net)(pictures())
    assert torch.allclose((net.head(class_token) + net.head_dist(distilled)) / 2, logits, atol=1e-5)


def attention_by_hand(net, images, number):
    """softmax(q k^T / sqrt(width of a head)) of one block, from the weights of the block."""
    facts = net.pretrained_cfg
    tokens = net.patch_embed(normalize(images, facts["mean"], facts["std"]))
    tokens = net.norm_pre(net._pos_embed(tokens))
    for block in net.blocks[:number]:
        tokens = block(tokens)
    block = net.blocks[number]
    tokens, (heads, width) = block.norm1(tokens), (block.attn.num_heads, block.attn.head_dim)
    products = (tokens @ block.attn.qkv.weight.T + block.attn.qkv.bias).numpy()
    found = np.empty((len(images), heads, tokens.shape[1], tokens.shape[1]))
    for head in range(heads):
        query, key = (
            products[..., part * heads * width + head * width :][..., :width].astype(float) for part in (0, 1)
        )
        scores = np.exp(np.einsum("nid,njd->nij", query, key) / np.sqrt(width))
        found[:, head] = scores / scores.sum(2, keepdims=True)
    return found


@pytest.mark.parametrize("entry", [VIT, DEIT])
@torch.no_grad()
def test_attention_is_what_the_weights_of_a_block_say(entry):
    net = network(entry)
    model = models.Model(net)
    before, fused = model(pictures()), [block.attn.fused_attn for block in net.blocks]
    found = model.attention(pictures())
    assert len(found) == 2
    for number, attention in enumerate(found):
        expected = attention_by_hand(net, pictures(), number)
        assert attention.shape == expected.shape
        assert np.abs(attention.numpy() - expected).max() < 1e-5
        assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)
        assert attention.std() > 1e-3
    assert [block.attn.fused_attn for block in net.blocks] == fused
    assert not any(block.attn.attn_drop._forward_hooks for block in net.blocks)
    assert torch.equal(model(pictures()), before)


@torch.no_grad()
def test_attention_is_reduced_as_it_is_formed():
    model, asked = models.Model(network(VIT)), []

    def reduce(attention):
        asked.append(attention)
        return attention[:, :, 0].mean(1)

    found = model.attention(pictures(), reduce=reduce)
    assert len(asked) == 2
    assert all(torch.equal(a[:, :, 0].mean(1), b) for a, b in zip(asked, found, strict=True))
    [last] = model.attention(pictures(), last=1, reduce=reduce)
    assert torch.allclose(last, found[1], atol=1e-6) and len(asked) == 3


def test_the_fused_setting_is_restored_after_an_error_too():
    net = network(VIT)
    for block in net.blocks:
        block.attn.fused_attn = True
    with pytest.raises(RuntimeError):
        models.Model(net).attention(torch.rand(1, 7, 32, 32))
    assert all(block.attn.fused_attn for block in net.blocks)
    assert not any(block.attn.attn_drop._forward_hooks for block in net.blocks)


OTHERS = {"cait_xxs24_224": {"depth": 1}, "convit_tiny": {"depth": 2}, "mixer_s32_224": {}}


@pytest.mark.parametrize("name", ["resnet10t", *OTHERS])
@pytest.mark.parametrize("asked", ["tokens", "attention"])
def test_a_network_that_does_not_attend_as_a_vit_does_says_so(name, asked):
    model = models.Model(timm.create_model(name, **OTHERS.get(name, {})).eval())
    with pytest.raises(ValueError, match=type(model.net).__name__):
        getattr(model, asked)(torch.rand(1, 3, 224, 224))


# ---- create ----


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet1888", "resnet18"),
        ("vitt_tiny_patch16_224", "vit_tiny_patch16_224"),
        ("deit_smal_patch16_224", "deit_small_patch16_224"),
        ("deit_smal_patch16_224.fb_in1k", "deit_small_patch16_224"),
    ],
)
def test_an_unknown_name_gets_the_name_that_was_meant(name, meant):
    with pytest.raises(ValueError, match=f"no model '{name}'.*'?{meant}'?"):
        models.create({"timm": name})


@pytest.mark.parametrize(
    ("name", "options"),
    [("test_vit", {"bogus": 5}), ("resnet18", {"bogus": 5}), ("test_vit", {"num_heads": 5})],
)
def test_options_that_timm_refuses_are_named(name, options):
    with pytest.raises(ValueError, match=f"'{name}' refuses options .*{next(iter(options))}"):
        models.create({"timm": name, "options": options})


def test_options_reach_the_network_and_the_entry_stays_as_it_is():
    entry = {"timm": "test_vit", "options": {"img_size": 32}}
    net = models.create(entry, classes=7)
    assert net.num_classes == 7 and net.patch_embed.img_size == (32, 32)
    assert entry == {"timm": "test_vit", "options": {"img_size": 32}}


# ---- save, load, build ----


def test_what_is_saved_is_loaded(tmp_path):
    state = network(CNN).state_dict()
    state["half"] = torch.rand(3).bfloat16()
    models.save(tmp_path / "a.safetensors", state, CLASSES)
    loaded, metadata = models.load(tmp_path / "a.safetensors")
    assert set(loaded) == set(state) and all(torch.equal(loaded[name], state[name]) for name in state)
    assert all(loaded[name].dtype == state[name].dtype for name in state)
    assert json.loads(metadata["classes"]) == CLASSES
    assert load_file(tmp_path / "a.safetensors").keys() == state.keys()  # anybody can read it


def test_the_digest_depends_on_content_only(tmp_path):
    def digest(state, classes=None):
        models.save(tmp_path / "x.safetensors", state, classes)
        return models.load(tmp_path / "x.safetensors")[1]["digest"]

    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    first = digest(state)
    strided = torch.arange(6.0).reshape(2, 3).T.contiguous().T
    assert digest({"b": torch.tensor(1), "a": strided.requires_grad_()}, CLASSES) == first
    others = [
        state | {"a": state["a"].nextafter(torch.tensor(9.0))},
        state | {"a": state["a"].reshape(3, 2)},
        state | {"a": state["a"].view(torch.int32)},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"]},
        state | {"c": torch.zeros(0)},
    ]
    assert len({first, *map(digest, others)}) == 1 + len(others)


def built(tmp_path, entry, net=None, classes=CLASSES, learnt=None):
    models.save(tmp_path / "w.safetensors", (net or network(entry)).state_dict(), learnt)
    return models.build(entry, tmp_path / "w.safetensors", classes)


@pytest.mark.parametrize("entry", [VIT, CNN], ids=["vit", "cnn"])
@torch.no_grad()
def test_a_built_model_gives_the_logits_of_the_saved_network(tmp_path, entry):
    net = network(entry, seed=5)
    model = built(tmp_path, entry, net)
    facts = net.pretrained_cfg
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert torch.equal(
        model(pictures()),
        net(
            (pictures() - torch.tensor(facts["mean"]).view(3, 1, 1))
            / torch.tensor(facts["std"]).view(3, 1, 1)
        ),
    )
    assert model.size == (32, 32)


def test_a_trained_model_has_as_many_outputs_as_the_dataset_has_classes(tmp_path):
    entry = {"timm": "test_vit", "options": {"img_size": 32}, "run": "mine"}
    net = models.create(entry, 5)
    assert built(tmp_path, entry, net, learnt=CLASSES)(pictures()).shape == (3, 5)


def test_the_origin_tells_weights_options_and_size_apart(tmp_path):
    origins = [
        built(tmp_path, VIT).origin,
        built(tmp_path, VIT, network(VIT, seed=1)).origin,
        built(tmp_path, VIT | {"options": VIT["options"] | {"qkv_bias": True}}).origin,
        built(tmp_path, CNN).origin,
        built(tmp_path, CNN | {"size": 40}).origin,
    ]
    assert len({json.dumps(origin, sort_keys=True) for origin in origins}) == len(origins)
    assert built(tmp_path, VIT | {"family": "another"}).origin == origins[0]


def test_a_wrong_number_of_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tells 5 classes apart, the dataset has 4.*classes: FILE"):
        built(tmp_path, VIT, classes=CLASSES[:4])


def test_another_order_of_classes_than_learnt_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"learnt class 1 as 'cat', .*dataset has 'bee'"):
        built(tmp_path, VIT, learnt=["ant", "cat", "bee", "dog", "eel"])
    assert built(tmp_path, VIT, learnt=CLASSES)


def test_what_does_not_fit_is_named():
    net = network(VIT)
    good = net.state_dict()

    def refused(state):
        with pytest.raises(ValueError, match=r"^w\.pth does not fit VisionTransformer") as error:
            models.fit(net, state, "w.pth")
        return str(error.value)

    assert "misses norm.bias" in refused({n: v for n, v in good.items() if n != "norm.bias"})
    assert "has extra.weight too many" in refused(good | {"extra.weight": torch.zeros(1)})
    wrong = refused(good | {"head.weight": torch.zeros(1000, 24)})
    assert "has head.weight of shape (1000, 24) instead of (5, 24)" in wrong
    assert f"and {len(good) - 4} more" in refused({})
    before = net.head.bias.clone()
    refused({"head.bias": torch.full((5,), 9.0)})
    assert torch.equal(net.head.bias, before)  # nothing of it was taken


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value):
    net = network(VIT)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["blocks.1.mlp.fc1.bias"][3] = value
    with pytest.raises(ValueError, match=r"NaN or infinite weights in blocks\.1\.mlp\.fc1\.bias$"):
        models.fit(net, state, "w.pth")


# ---- fetching.read_checkpoint ----


def wrappings(state):
    return {
        "bare": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "module": {f"module.{name}": value for name, value in state.items()},
        "both": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        "ema": {"state_dict_ema": state, "state_dict": {n: torch.zeros_like(v) for n, v in state.items()}},
        "deit": {"model": state, "model_ema": {n: torch.zeros_like(v) for n, v in state.items()}},
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapping", wrappings({}))
def test_checkpoints_are_unwrapped(tmp_path, wrapping, zipped):
    net, content = network(CNN), tmp_path / "w.pth"
    torch.save(wrappings(net.state_dict())[wrapping], content, _use_new_zipfile_serialization=zipped)
    state = fetching.read_checkpoint(content, net)
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def test_safetensors_are_read(tmp_path):
    net = network(VIT)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    state = fetching.read_checkpoint(tmp_path / "w.safetensors", net)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no weights file {tmp_path}/w.pth"):
        fetching.read_checkpoint(tmp_path / "w.pth", network(VIT))


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": {}, "epoch": trap}])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, zipped, wrap):
    torch.save(wrap(Trap(tmp_path / "sprung")), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"{tmp_path}/w.pth .* was not run") as error:
        fetching.read_checkpoint(tmp_path / "w.pth", network(VIT))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


BROKEN = {
    "empty.pth": b"",
    "text.pth": b"hello world",
    "page.pth": b"<!DOCTYPE html>\n<html></html>",
    "pointer.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n",
    "zip.pth": b"PK\x03\x04 and no more",
    "empty.safetensors": b"",
    "text.safetensors": b"hello world, hello world",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_holds_no_weights_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(ValueError) as error:
        fetching.read_checkpoint(tmp_path / name, network(VIT))
    assert str(error.value).startswith(f"{tmp_path / name} ") and "\n" not in str(error.value)
    assert "()" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(3), {}, {"a": {"b": torch.zeros(1)}}, {"state_dict": [1]}, {1: torch.zeros(2)}],
)
def test_a_checkpoint_that_is_no_state_dict_says_so(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds no state dict"):
        fetching.read_checkpoint(tmp_path / "w.pth", network(VIT))


# ---- place ----

COMPUTE = {"device": "cpu", "channels_last": True}


def test_a_cnn_takes_the_layout_that_is_asked_for_and_a_vit_never_does():
    cnn = models.place(models.Model(network(CNN), (32, 32)), COMPUTE)
    assert cnn.layout == torch.channels_last
    assert cnn.net.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert models.place(models.Model(network(VIT)), COMPUTE).layout == torch.contiguous_format
    plain = models.place(models.Model(network(CNN), (32, 32)), COMPUTE | {"channels_last": False})
    assert plain.layout == torch.contiguous_format
    assert torch.allclose(plain(pictures()), cnn(pictures()), atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without():
    assert models.device({"device": "auto"}) == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match="torch sees no GPU"):
            models.device({"device": name})


IMPORTED_LATER = """
import sys
from patchwork import models
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
import timm, torch, torchvision
assert timm.create_model("test_resnet")(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
assert "lambda" not in torch._dynamo.utils.is_compile_supported.__name__
"""


def test_the_compiler_is_imported_by_who_needs_it_alone():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_LATER], cwd=ROOT / "scripts", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
