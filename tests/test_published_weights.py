"""Every model of config/imagenet.yaml takes the file that its publisher gives, whole and unchanged.

Names, shapes and wrappings are those of the publishers' code: DeiT, timm as it was in 2020 and 2021 (ViT and
TNT), T2T-ViT, DINO, torchvision, and the training programs of Stylized-ImageNet, AugMix and the paper.
"""

import argparse
import functools
import math

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import load_file

import test_t2t_vit
import test_vit_small_2020
from conftest import ROOT
from patchwork import fetching, models

# All but those that are trained here, and what encodes images to stylize them.
MODELS = {
    name: entry
    for name, entry in yaml.safe_load((ROOT / "config/imagenet.yaml").read_text())["models"].items()
    if "run" not in entry and entry["family"] != "encoder"
}


# ---- names and shapes ----


def layer(name, inputs, outputs, bias=True):
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit(width, blocks=12, patch=16, tokens=197, heads=("head",)):
    """DeiT, DINO, and Google's as timm had them; without positions for no tokens. heads: of 1,000 classes."""
    found = {"cls_token": (1, 1, width)} | ({"pos_embed": (1, tokens, width)} if tokens else {})
    found |= {"dist_token": (1, 1, width)} if "head_dist" in heads else {}
    found |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    for number in range(blocks):
        name = f"blocks.{number}"
        found |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
        found |= layer(f"{name}.attn.qkv", width, 3 * width) | layer(f"{name}.attn.proj", width, width)
        found |= layer(f"{name}.mlp.fc1", width, 4 * width) | layer(f"{name}.mlp.fc2", 4 * width, width)
    for head in heads:
        found |= layer(head, width, 1000)
    return found | norm("norm", width)


def tnt(width, inner, blocks=12):
    """TNT of timm 0.4, of patches of 4x4 pixels."""
    pixels = 16 * inner
    found = {"cls_token": (1, 1, width), "patch_pos": (1, 197, width), "pixel_pos": (1, inner, 4, 4)}
    found |= {"pixel_embed.proj.weight": (inner, 3, 7, 7), "pixel_embed.proj.bias": (inner,)}
    found |= norm("norm1_proj", pixels) | layer("proj", pixels, width) | norm("norm2_proj", width)
    for number in range(blocks):
        name = f"blocks.{number}"
        for end, size in (("in", inner), ("out", width)):
            found |= norm(f"{name}.norm_{end}", size)
            found |= layer(f"{name}.attn_{end}.qk", size, 2 * size, bias=False)
            found |= layer(f"{name}.attn_{end}.v", size, size, bias=False)
            found |= layer(f"{name}.attn_{end}.proj", size, size)
        found |= norm(f"{name}.norm1_proj", inner) | layer(f"{name}.proj", pixels, width)
        for end, size in (("_in", inner), ("", width)):
            found |= norm(f"{name}.norm_mlp{end}", size)
            found |= layer(f"{name}.mlp{end}.fc1", size, 4 * size)
            found |= layer(f"{name}.mlp{end}.fc2", 4 * size, size)
    return found | norm("norm", width) | layer("head", width, 1000)


def of_torchvision(name):
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None)
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def t2t(number):
    width, blocks, _, ratio = test_t2t_vit.SIZES[number]
    return test_t2t_vit.public_shapes(width, blocks, ratio)


# ---- wrappings ----


def bare(state):
    return state


def deit(state):
    """As DeiT publishes its weights."""
    return {"model": state}


def deit_training(state):
    """As DeiT's program saves them in training, from which the authors' programs take `model`."""
    average = {name: torch.zeros_like(value) for name, value in state.items()}
    arguments = argparse.Namespace(model="deit_tiny_patch16_224", lr=0.0005)
    progress = {"optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "epoch": 299, "scaler": {}}
    return {"model": state, "model_ema": average, "args": arguments, "lr_scheduler": {}} | progress


def parallel(state):
    """As PyTorch's example for ImageNet does, of which ResNet50-SIN is."""
    state = {f"module.{name}": value for name, value in state.items()}
    return {
        "epoch": 60,
        "arch": "resnet50",
        "state_dict": state,
        "best_prec1": torch.tensor(60.0),
        "optimizer": {},
    }


def augmix(state):
    """Where `model` is a name."""
    state = {f"module.{name}": value for name, value in state.items()}
    return {"epoch": 179, "model": "resnet50", "state_dict": state, "best_acc1": 0.77, "optimizer": {}}


def average(state):
    """As T2T-ViT publishes its weights."""
    return {"state_dict_ema": state}


def old(state):
    """Without the counters that PyTorch's batch normalisation has had since version 0.4.1."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def old_parallel(state):
    return parallel(old(state))


DISTILLED = {"tokens": 198, "heads": ("head", "head_dist")}
PUBLIC = {  # the shapes of the public file of each model, and how these are wrapped
    "deit_tiny": (lambda: vit(192), [deit]),
    "deit_small": (lambda: vit(384), [deit]),
    "deit_base": (lambda: vit(768), [deit]),
    "vit_small": (test_vit_small_2020.public_shapes, [bare]),
    "vit_base": (lambda: vit(768), [bare]),
    "vit_large": (lambda: vit(1024, 24), [bare]),
    "t2t_7": (lambda: t2t(7), [average]),
    "t2t_14": (lambda: t2t(14), [average]),
    "t2t_24": (lambda: t2t(24), [average]),
    "tnt_small": (lambda: tnt(384, 24), [bare]),
    "resnet50": (lambda: of_torchvision("resnet50"), [bare, old]),
    "squeezenet": (lambda: of_torchvision("squeezenet1_1"), [bare]),
    "alexnet": (lambda: of_torchvision("alexnet"), [bare]),
    "augmix": (lambda: of_torchvision("resnet50"), [augmix]),
    "deit_tiny_distilled": (lambda: vit(192, **DISTILLED), [deit]),
    "deit_small_distilled": (lambda: vit(384, **DISTILLED), [deit]),
    "deit_base_distilled": (lambda: vit(768, **DISTILLED), [deit]),
    "resnet50_sin": (lambda: of_torchvision("resnet50"), [parallel, old_parallel]),
    "deit_tiny_sin": (lambda: vit(192), [deit, deit_training, parallel]),
    "deit_small_sin": (lambda: vit(384), [deit]),
    "deit_tiny_shape_class": (lambda: vit(192, **DISTILLED), [deit, deit_training, parallel]),
    "deit_tiny_shape": (lambda: vit(192, **DISTILLED), [deit]),
    "deit_small_shape_class": (lambda: vit(384, **DISTILLED), [deit]),
    "deit_small_shape": (lambda: vit(384, **DISTILLED), [deit]),
    "deit_tiny_nopos": (lambda: vit(192, tokens=0), [deit, deit_training, parallel]),
    "deit_tiny_patch22": (lambda: vit(192, patch=22, tokens=101), [deit, deit_training, parallel]),
    "deit_tiny_patch28": (lambda: vit(192, patch=28, tokens=65), [deit]),
    "deit_tiny_patch32": (lambda: vit(192, patch=32, tokens=50), [deit]),
    "deit_tiny_patch38": (lambda: vit(192, patch=38, tokens=26), [deit]),
    "dino": (lambda: vit(384, heads=()), [bare]),
    "vit_base_today": (lambda: vit(768), [bare]),
    "vit_small_today": (lambda: vit(384), [bare]),
    "vit_large_today": (lambda: vit(1024, 24), [bare]),
}
# The hub has them in timm's own names, which are not torchvision's or Microsoft's.
OF_THE_HUB = {"vgg19_bn", "densenet121", *(name for name in MODELS if name.startswith(("swin", "regnety")))}
# Formats that no smaller network has; all others of more than ten million parameters are slow.
QUICK = {"augmix", "resnet50_sin", "tnt_small", "squeezenet"}
FILES = [
    pytest.param(
        name,
        wrap,
        marks=[] if name in QUICK or name.startswith(("deit_tiny", "t2t_7")) else [pytest.mark.slow],
        id=f"{name}-{wrap.__name__}",
    )
    for name, (_, wraps) in PUBLIC.items()
    for wrap in wraps
]


def renamed(name):
    """A name of T2T-ViT as timm's."""
    return name.replace("tokens_to_token.", "patch_embed.proj.")


def drawn(shapes):
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=draw) if shape else torch.tensor(7)
        for name, shape in shapes.items()
    }


def fetched(name, content, folder):
    """What a config entry makes of a file of that content: {name: tensor}."""
    torch.save(content, folder / "w.pth.tar")
    entry = MODELS[name] | {"weights": str(folder / "w.pth.tar")}
    entry.pop("sha256", None)
    fetching.fetch(name, entry, folder / "w.safetensors")
    found = load_file(folder / "w.safetensors")
    for file in folder.iterdir():  # pytest would keep gigabytes
        file.unlink()
    return found


@functools.cache
def on_meta(name):
    """The network of a model of the config, without memory."""
    with torch.device("meta"):
        return models.create(MODELS[name])


def test_every_model_of_the_config_is_here():
    untrained = {name for name, entry in MODELS.items() if entry.get("weights") == "random"}
    assert {*PUBLIC} | OF_THE_HUB | untrained == {name for name in MODELS if "run" not in MODELS[name]}
    assert not ({*PUBLIC} & OF_THE_HUB) and len(untrained) == 2


@pytest.mark.parametrize("name", PUBLIC)
def test_networks_have_the_names_and_shapes_of_the_public_files(name):
    expected = {renamed(n): shape for n, shape in PUBLIC[name][0]().items()}
    if name == "vit_small":
        expected["patch_embed.proj.weight"] = (768, 3, 16, 16)  # a linear layer in the file
    assert {n: tuple(value.shape) for n, value in on_meta(name).state_dict().items()} == expected


@pytest.mark.parametrize(("name", "wrap"), FILES)
def test_public_files_are_taken_whole_and_unchanged(name, wrap, tmp_path):
    state = drawn(PUBLIC[name][0]())
    found = fetched(name, wrap(state), tmp_path)
    assert found.keys() == {renamed(n) for n in state}
    for n, value in old(state).items():
        shape = (768, 3, 16, 16) if name == "vit_small" and n == "patch_embed.proj.weight" else value.shape
        assert torch.equal(found[renamed(n)], value.reshape(shape)), n


@pytest.mark.parametrize(
    "name", ["deit_tiny", "deit_tiny_nopos", "deit_tiny_patch22", "deit_tiny_shape", "dino"]
)
@pytest.mark.parametrize("wrap", [deit, parallel])
def test_a_key_too_many_or_too_few_is_named(name, wrap, tmp_path):
    state = drawn(PUBLIC[name][0]())
    lost = state.pop("blocks.7.attn.proj.bias")
    with pytest.raises(ValueError, match=r"misses blocks\.7\.attn\.proj\.bias$"):
        fetched(name, wrap(state), tmp_path)
    state |= {"blocks.7.attn.proj.bias": lost, "blocks.12.norm1.weight": torch.ones(192)}
    with pytest.raises(ValueError, match=r"has blocks\.12\.norm1\.weight too many$"):
        fetched(name, wrap(state), tmp_path)


@pytest.mark.parametrize(
    ("name", "others", "told"),
    [
        ("deit_tiny_nopos", "deit_tiny", "has pos_embed too many"),
        ("deit_tiny", "deit_tiny_nopos", "misses pos_embed"),
        ("deit_tiny_patch22", "deit_tiny", r"pos_embed of shape \(1, 197, 192\) instead of \(1, 101, 192\)"),
        (
            "deit_tiny_patch38",
            "deit_tiny_patch22",
            r"weight of shape \(192, 3, 22, 22\) instead of \(192, 3, 38, 38\)",
        ),
        ("deit_tiny", "deit_tiny_shape", "has dist_token too many"),
        ("deit_tiny_shape", "deit_tiny", "misses dist_token"),
    ],
)
def test_the_file_of_another_model_is_not_made_to_fit(name, others, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        fetched(name, deit(drawn(PUBLIC[others][0]())), tmp_path)


@pytest.mark.parametrize(("patch", "side"), [(22, 10), (28, 8), (32, 7), (38, 5)])
@torch.inference_mode()
def test_patches_that_do_not_divide_the_image_leave_its_edge_out(patch, side):
    name = f"deit_tiny_patch{patch}"
    entry = MODELS[name]
    net = models.create({"timm": entry["timm"], "options": entry["options"] | {"depth": 1}}).eval()
    model = models.Model(net)
    assert model.size == (224, 224) and model.grid == (side, side)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    [(prefix, patches)] = model.tokens(images)
    assert prefix.shape[1] == 1 and patches.shape[1] == side**2
    edge = images.clone()
    edge[..., side * patch :, :] = edge[..., side * patch :] = 0
    assert torch.equal(model(edge), model(images))
    edge[..., side * patch - 1, side * patch - 1] = 5
    assert not torch.equal(model(edge), model(images))


def test_counts_are_those_that_are_published():
    """In millions, of timm's table of results and the papers of DeiT and TNT."""
    published = {"vit_small": 48.75, "vit_base": 86.57, "vit_large": 304.33, "tnt_small": 23.76}
    published |= {"deit_tiny": 5.72, "deit_small": 22.05, "deit_base": 86.57}
    for name, millions in published.items():
        count = sum(math.prod(shape) for shape in PUBLIC[name][0]().values())
        assert abs(count / 1e6 - millions) < 0.005, name


# ---- docs/models.md ----


def rows():
    """{key of the config: the other cells of its row}."""
    lines = (ROOT / "docs/models.md").read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    return {key.strip("`"): others for key, *others in cells}


def test_what_timm_has_today_is_what_its_plain_names_stand_for():
    told = [entry["timm"] for name, entry in MODELS.items() if name.endswith("_today")]
    assert len(told) == 3
    for name in told:
        plain, _, tag = name.partition(".")
        assert timm.get_pretrained_cfg(plain).tag == tag


def test_every_model_has_a_row_in_the_docs():
    assert [*rows()] == [*MODELS]


@pytest.mark.parametrize("name", MODELS)
def test_rows_tell_what_is_built(name):
    entry, (paper, _, taken, parameters, statistics, _) = MODELS[name], rows()[name]
    net = on_meta(name)
    assert parameters == f"{sum(value.numel() for value in net.parameters()):,}"
    assert (
        net.pretrained_cfg["mean"] == {"ImageNet": (0.485, 0.456, 0.406), "0.5": (0.5, 0.5, 0.5)}[statistics]
    )
    assert paper == entry.get("published", paper)
    weights = entry.get("weights")
    if weights == "random":
        assert taken == "none"
    elif weights:
        assert weights.endswith(taken.strip("`"))
    else:
        kind, place = fetching.published(entry)
        assert kind == ("hf-hub" if taken.startswith("`timm/") else "url")
        assert place.endswith(taken.strip("`"))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        ("vgg19_bn", torchvision.models.VGG19_BN_Weights.DEFAULT),
        ("densenet121", torchvision.models.DenseNet121_Weights.DEFAULT),
        ("squeezenet", torchvision.models.SqueezeNet1_1_Weights.DEFAULT),
        ("alexnet", torchvision.models.AlexNet_Weights.DEFAULT),
    ],
)
def test_accuracies_of_torchvision_are_those_that_it_tells(name, weights):
    assert rows()[name][-1] == f"{weights.meta['_metrics']['ImageNet-1K']['acc@1']}⁴"
