"""timm's first ViT-S against a slow program that knows its public checkpoint alone: names, shapes and values.

That program is plain numpy, in float64 and one image at a time, after timm as it was in 2020.
"""

import numpy as np
import pytest
import torch

from patchwork import fetching, models
from plain_vit import Program

SMALL = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 4, "num_classes": 5}


def public_shapes(width=768, blocks=8, side=224, classes=1000):
    """The names and shapes of the public state dict. Patches are cut by hand and enter a linear layer."""

    def layer(name, inputs, outputs):
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    found = {"cls_token": (1, 1, width), "pos_embed": (1, 1 + (side // 16) ** 2, width)}
    found |= layer("patch_embed.proj", 3 * 16 * 16, width)
    for number in range(blocks):
        name = f"blocks.{number}"
        found |= norm(f"{name}.norm1") | {f"{name}.attn.qkv.weight": (3 * width, width)}
        found |= layer(f"{name}.attn.proj", width, width) | norm(f"{name}.norm2")
        found |= layer(f"{name}.mlp.fc1", width, 3 * width) | layer(f"{name}.mlp.fc2", 3 * width, width)
    return found | norm("norm") | layer("head", width, classes)


def public_state(**size):
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=draw) + 0.2
        if len(shape) == 1
        else torch.randn(shape, generator=draw)
        * (3 if name.endswith("qkv.weight") else 1)
        * shape[-1] ** -0.5
        for name, shape in public_shapes(**size).items()
    }


def slow(state, image, heads):
    """Logits [classes] and attention of each block [blocks, heads, tokens, tokens] of one image that is
    normalised, float [3, H, W]."""
    program, pixels = Program(state), image.double().numpy()
    rows, columns = pixels.shape[1] // 16, pixels.shape[2] // 16
    patches = pixels.reshape(3, rows, 16, columns, 16).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    x = program.layer("patch_embed.proj", patches)
    logits, _, attended = program.encode(
        x, heads, scale=x.shape[1] ** -0.5
    )  # of all heads together, not of one
    return logits, attended


def small(tmp_path):
    state = public_state(width=24, blocks=2, side=32, classes=5)
    torch.save(state, tmp_path / "w.pth")
    entry = {"timm": "vit_small_patch16_224_2020", "options": SMALL, "weights": str(tmp_path / "w.pth")}
    fetching.fetch("small", entry, tmp_path / "w.safetensors")
    return state, models.build(entry, tmp_path / "w.safetensors")


def test_names_shapes_and_counts_are_those_of_the_public_checkpoint():
    with torch.device("meta"):
        net = models.create({"timm": "vit_small_patch16_224_2020"})
    shapes = public_shapes()
    assert shapes["patch_embed.proj.weight"] == (768, 768)
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == shapes | {
        "patch_embed.proj.weight": (768, 3, 16, 16)
    }
    assert sum(value.numel() for value in net.parameters()) == 48_754_408  # timm lists 48.75 M


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_logits_and_attention_are_those_of_the_plain_program(tmp_path, fused):
    state, model = small(tmp_path)
    for block in model.net.blocks:
        block.attn.fused_attn = fused
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = model(images)
    attention = torch.stack(model.attention(images), 1)
    mean, std = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    for number, image in enumerate(images):
        logits, attended = slow(state, (image - mean) / std, heads=4)
        assert np.allclose(found[number], logits, rtol=1e-4, atol=1e-5)
        assert np.abs(attention[number].numpy() - attended).max() < 1e-5
    # The scale of today's timm would not go unnoticed.
    for block in model.net.blocks:
        block.attn.q_norm = torch.nn.Identity()
    assert not np.allclose(model(images), found, rtol=1e-2)


def test_statistics_are_timms_or_those_that_the_config_says(tmp_path):
    _, model = small(tmp_path)
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    entry = {"timm": "vit_small_patch16_224_2020", "options": SMALL | {"pretrained_cfg_overlay": half}}
    model = models.build(entry, tmp_path / "w.safetensors")
    assert model.mean.flatten().tolist() == model.std.flatten().tolist() == [0.5] * 3
