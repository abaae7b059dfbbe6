"""Attention: against its own weights, a slow double loop, and cases whose answer is known."""

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from patchwork import grids, measuring, models
from patchwork.measures import attention, attention_placed
from test_measuring import Dataset, subject
from test_models import attention_by_hand

SIDE = 32
SMALL = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
NETWORKS = {
    "plain": ("vit_tiny_patch16_224", SMALL),
    "distilled": ("deit_tiny_distilled_patch16_224", SMALL),
    "registers": ("vit_tiny_patch16_224", SMALL | {"reg_tokens": 4}),
}
SETTINGS = {"grid": "4x4", "dropped": 0.75}


def model(name, **options):
    torch.manual_seed(0)
    net = timm.create_model(name, **options).eval()
    for value in net.parameters():
        if value.ndim > 1:
            value.data.normal_(std=0.2)  # the attention of fresh weights is nearly uniform
    built = models.Model(net, (SIDE, SIDE))
    built.origin = {"timm": name}
    return built.requires_grad_(False)


def measured(looked_at, settings=SETTINGS, dtype="float32", **more):
    asked = subject(looked_at, settings=attention.SETTINGS | settings, **more)
    asked.dtype = getattr(torch, dtype)
    return attention.measure(asked)


def select(found, kind, **where):
    """The rows of a kind, None for null."""
    chosen = found["kind"] == kind
    for name, value in where.items():
        column = found[name]
        null = np.array([v is None or v != v for v in column])
        chosen &= null if value is None else column == value
    return {name: column[chosen] for name, column in found.items()}


def mask_of(looked_at, settings=SETTINGS, data=None, **more):
    asked = subject(looked_at, data=data, settings=attention.SETTINGS | settings, **more)
    return attention.visible_pixels(asked).numpy()


def slow(looked_at, pixels, mask):
    """What is to be found, head by head and patch by patch, from the weights of the blocks."""
    net, images = looked_at.net, len(pixels)
    prefix, (rows, columns) = net.num_prefix_tokens, looked_at.grid
    patch = [SIDE // rows, SIDE // columns]
    parts = mask[0].reshape(rows, patch[0], columns, patch[1]).mean((1, 3)).ravel()
    places = [(r * patch[0], c * patch[1]) for r in range(rows) for c in range(columns)]
    found = []
    for block in range(len(net.blocks)):
        seen, blind = (
            attention_by_hand(net, torch.from_numpy(p).float(), block) for p in (pixels, pixels * mask)
        )
        shares = []
        for full in (blind, seen):
            rows_of_tokens = full[:, :, : 1 + hasattr(net, "head_dist"), prefix:]
            shares.append(rows_of_tokens / rows_of_tokens.sum(-1, keepdims=True))
        distance = np.zeros((images, seen.shape[1]))
        for image, head in np.ndindex(distance.shape):
            of_patches = []
            for query, (down, across) in enumerate(places):
                weights = seen[image, head, prefix + query, prefix:]
                far = [np.hypot(down - r, across - c) for r, c in places]
                of_patches.append(np.dot(weights, far) / weights.sum())
            distance[image, head] = np.mean(of_patches)
        found.append((shares[0], shares[1], distance))
    return found, parts


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("grid", ["4x4", "3x5"])
@torch.no_grad()
def test_shares_and_distances_are_those_of_the_weights(kind, grid):
    name, options = NETWORKS[kind]
    looked_at, data, settings = model(name, **options), Dataset(), {"grid": grid, "dropped": 0.75}
    fused = [block.attn.fused_attn for block in looked_at.net.blocks]
    found, examples = measured(looked_at, settings)
    assert [block.attn.fused_attn for block in looked_at.net.blocks] == fused
    assert not any(block.attn.attn_drop._forward_hooks for block in looked_at.net.blocks)
    mask = mask_of(looked_at, settings)
    expected, parts = slow(looked_at, data.values / 255, mask)
    tokens = ["class", "shape"] if kind == "distilled" else ["class"]
    assert set(found["token"]) == {*tokens, None}
    assert {int(b) for b in found["block"]} == {1, 2, 3}
    assert (parts > 0).any() and (parts < 1).any()
    for block, (*both, far) in enumerate(expected, 1):
        rows = select(found, "distance", block=block)
        assert rows["head"].tolist() == [0, 1, 2]
        assert rows["distance_pixels"] == pytest.approx(far.mean(0), rel=1e-5)
        assert rows["deviation_pixels"] == pytest.approx(far.std(0, ddof=1), rel=1e-3)
        assert all(value is None for value in rows["token"])
        for column, shares in zip(("occluded", "untouched"), both, strict=True):
            for place, token in enumerate(tokens):
                rows = select(found, "visible", token=token, block=block, head=None)
                assert rows["image"].tolist() == [0, 1, 2, 3, 4]
                of_images = shares[:, :, place].mean(1) @ parts
                assert rows[column] == pytest.approx(of_images, abs=1e-5)
                rows = select(found, "visible", token=token, block=block, image=None)
                assert rows["head"].tolist() == [0, 1, 2]
                assert rows[column] == pytest.approx(shares[:, :, place].mean(0) @ parts, abs=1e-5)
                for head in range(3):
                    rows = select(found, "patch", token=token, block=block, head=head)
                    assert rows["patch"].tolist() == [*range(16)]
                    assert rows["visible_fraction"] == pytest.approx(parts)
                    assert rows[column] == pytest.approx(shares[:, head, place].mean(0), abs=1e-5)
                    kept = examples["maps"][("occluded", "untouched").index(column), block - 1, place, head]
                    assert kept.flatten().numpy() == pytest.approx(rows[column], abs=1e-6)
    assert select(found, "visible")["visible_fraction"] == pytest.approx(parts.mean())
    assert examples["images"].numpy() == pytest.approx(data.values[[0, 1, 3]] / 255)
    single = np.stack([[b[which][:, :, 0].mean(1) for b in expected] for which in (0, 1)])[:, :, [0, 1, 3]]
    assert examples["single"].flatten(3).permute(1, 2, 0, 3).numpy() == pytest.approx(single, abs=1e-5)


@torch.no_grad()
def test_attention_in_images_in_a_corner_is_that_of_the_weights():
    looked_at, data = model(*NETWORKS["plain"][:1], **SMALL), Dataset()
    found, examples = attention_placed.measure(subject(looked_at))
    pixels = (data.values / 255).astype(np.float32)
    placed = np.zeros_like(pixels)
    for image, channel in np.ndindex(
        placed.shape[:2]
    ):  # 4/7 of 32 are 18 pixels, of which 16 are two patches
        small = Image.fromarray(pixels[image, channel]).resize((16, 16), Image.Resampling.BILINEAR)
        placed[image, channel, :16, :16] = small
    inside = [0, 1, 4, 5]  # of the 16 patches
    assert examples["occluded"].numpy() == pytest.approx(placed[[0, 1, 3]], abs=1e-6)
    assert set(found["kind"]) == {"visible", "patch"}
    for block in (1, 2, 3):
        for column, seen in [("occluded", placed), ("untouched", pixels)]:
            shares = attention_by_hand(looked_at.net, torch.from_numpy(seen), block - 1)[:, :, 0, 1:]
            shares = shares / shares.sum(-1, keepdims=True)
            rows = select(found, "visible", block=block, head=None)
            assert rows[column] == pytest.approx(shares.mean(1)[:, inside].sum(-1), abs=1e-5)
            assert rows["visible_fraction"] == pytest.approx(0.25)
            rows = select(found, "patch", block=block, head=1)
            assert rows[column] == pytest.approx(shares[:, 1].mean(0), abs=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_the_distance_of_attention_to_itself_is_0_and_of_even_attention_that_of_the_grid(grid):
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    looked_at.grid, patches = grid, grid[0] * grid[1]
    apart = attention.distances(looked_at)
    assert apart[0, 1] == apart[1, 2] == apart[0, grid[1]] == 8
    assert apart[0, grid[1] + 1] == pytest.approx(8 * 2**0.5)
    itself = torch.eye(patches).expand(2, 3, -1, -1)
    assert attention.attention_distance(itself, apart).tolist() == [[0] * 3] * 2
    next_one = torch.eye(patches).roll(grid[1], 1)[: -grid[1]].expand(1, 1, -1, -1)
    assert attention.attention_distance(next_one, apart[: -grid[1]]).item() == pytest.approx(8)
    even = torch.full((1, 1, patches, patches), 0.01)  # what does not add up to 1 is divided by its sum
    places = [(8 * r, 8 * c) for r in range(grid[0]) for c in range(grid[1])]
    mean = np.mean([np.hypot(r - s, c - d) for r, c in places for s, d in places])
    assert attention.attention_distance(even, apart).item() == pytest.approx(mean)


def test_even_attention_falls_on_visible_patches_by_chance():
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    for block in looked_at.net.blocks:
        block.attn.qkv.weight.data.zero_()
    found, _ = measured(looked_at, {"grid": "3x5", "dropped": 0.5})
    rows = select(found, "visible")
    chance = mask_of(looked_at, {"grid": "3x5", "dropped": 0.5}).mean()
    assert 0.4 < chance < 0.7
    for column in ("occluded", "untouched", "visible_fraction"):
        assert rows[column] == pytest.approx(chance)


def test_attention_to_what_is_bright_falls_on_what_is_visible():
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    net, data = looked_at.net, Dataset()
    data.values[:] = 255
    net.pos_embed.data.zero_()
    net.patch_embed.proj.weight.data.zero_()
    net.patch_embed.proj.weight.data[0] = 1  # feature 0 is brightness
    net.patch_embed.proj.bias.data.zero_()
    weight = net.blocks[0].attn.qkv.weight.data.zero_()
    bias = net.blocks[0].attn.qkv.bias.data.zero_()
    bias[::8][:3] = 50  # the query asks in every head
    weight[24:48:8, 0] = 1  # for keys of this feature
    found, _ = measured(looked_at, data=data)
    rows = select(found, "visible", block=1)
    assert rows["occluded"] == pytest.approx(1)
    assert rows["untouched"] == pytest.approx(4 / 16)


def test_the_mask_is_one_for_all_images_and_drops_as_much_as_it_says():
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    mask = mask_of(looked_at)
    assert mask.shape == (1, SIDE, SIDE) and mask.mean() == 4 / 16
    others = Dataset(3)
    others.paths = ["a", "b", "c"]
    assert (mask_of(looked_at, data=others, batch_images=1) == mask).all()
    assert (mask_of(looked_at, seeds=(0, 5)) == mask).all()
    assert (mask_of(looked_at, seeds=(5, 0)) != mask).any()
    wide = mask_of(looked_at, {}, Dataset(1, 224))
    assert round(wide.mean() * 196) == 36  # of figure 4


@pytest.mark.parametrize("share", [0.01, 1, 3])
def test_a_mask_that_hides_nothing_or_all_is_refused(share):
    with pytest.raises(ValueError, match=r"settings\.attention: dropped: .* of 16 tiles"):
        measured(model("vit_tiny_patch16_224", **SMALL), {"grid": "4x4", "dropped": share})


def test_a_measure_of_attention_does_not_depend_on_the_size_of_batches():
    looked_at = model("deit_tiny_distilled_patch16_224", **SMALL)
    (once, shown), (more, also) = (measured(looked_at, batch_images=n) for n in (5, 2))
    for name, values in once.items():
        if values.dtype == object:
            assert values.tolist() == more[name].tolist()
        else:
            assert values == pytest.approx(more[name], rel=1e-4, abs=1e-6, nan_ok=True)
    for name, values in shown.items():
        assert torch.allclose(values.float(), also[name].float(), atol=1e-5)


def test_in_a_lower_precision_sums_are_as_exact():
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    exact, low = measured(looked_at)[0], measured(looked_at, dtype="bfloat16")[0]
    for column, tolerance in [("occluded", 0.05), ("untouched", 0.05), ("distance_pixels", 0.5)]:
        assert low[column] == pytest.approx(exact[column], abs=tolerance, nan_ok=True)
        assert not np.array_equal(low[column], exact[column], equal_nan=True)
    patches = select(low, "patch", block=1, head=0)
    assert patches["occluded"].sum() == pytest.approx(1, abs=1e-9)
    # Even attention is even in any precision, but its distance would not be exact in bfloat16.
    for block in looked_at.net.blocks:
        block.attn.qkv.weight.data.zero_()
    even = select(measured(looked_at, dtype="bfloat16")[0], "distance")["distance_pixels"]
    places = [(8 * r, 8 * c) for r in range(4) for c in range(4)]
    mean = np.mean([np.hypot(r - s, c - d) for r, c in places for s, d in places])
    assert even == pytest.approx(mean, rel=1e-6)


def test_a_single_image_has_no_deviation():
    found, examples = measured(model("vit_tiny_patch16_224", **SMALL), data=Dataset(1))
    assert np.isnan(select(found, "distance")["deviation_pixels"]).all()
    assert len(examples["images"]) == 1


def test_attention_without_numbers_names_its_images():
    broken = model("vit_tiny_patch16_224", **SMALL)
    broken.net.blocks[1].attn.qkv.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinite values for 0\.png to 1\.png of set"):
        measured(broken)


REFUSED = {
    "test_resnet": "ResNet has no class token",
    "cait_xxs24_224": "Cait has no blocks with a ViT's attention",
    "convit_tiny": "ConVit has no blocks with a ViT's attention",
    "swin_tiny_patch4_window7_224": "SwinTransformer has no class token",
    "mixer_s32_224": "MlpMixer has no class token",
    "test_vit3": "VisionTransformer has no class token",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_attend_as_a_vit_is_refused(name):
    assert attention.refuses(model(name)) == REFUSED[name]


def test_differential_attention_is_refused():
    from timm.layers import DiffAttention

    looked_at = model("vit_tiny_patch16_224", **SMALL, attn_layer="diff")
    assert isinstance(looked_at.net.blocks[0].attn, DiffAttention)
    assert "no blocks with a ViT's attention" in attention.refuses(looked_at)


DEEP = {"img_size": SIDE, "depth": 2}
OTHERS = {
    "beit_base_patch16_224": (DEEP | {"patch_size": 8, "embed_dim": 24, "num_heads": 3}, 1),
    "eva02_tiny_patch14_224": (DEEP | {"patch_size": 8, "embed_dim": 48, "num_heads": 3}, 1),
    "vit_small_patch16_dinov3": (DEEP | {"patch_size": 8, "embed_dim": 48, "num_heads": 3}, 5),
    "vit_relpos_base_patch16_cls_224": (DEEP | {"patch_size": 8, "embed_dim": 24, "num_heads": 3}, 1),
    "tnt_s_patch16_224": (DEEP | {"patch_size": 8, "embed_dim": 24, "num_heads_outer": 3}, 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_transformers_with_a_class_token_attend_to_a_grid_of_patches(name):
    options, prefix = OTHERS[name]
    looked_at = model(name, **options)
    assert attention.refuses(looked_at) is None
    assert looked_at.net.num_prefix_tokens == prefix and looked_at.grid == (4, 4)
    assert attention.distances(looked_at)[0, 1] == 8
    found, _ = measured(looked_at)
    rows = select(found, "patch", block=2, token="class")
    assert rows["untouched"].reshape(3, 16).sum(1) == pytest.approx([1, 1, 1])
    assert rows["untouched"].std() > 1e-4
    assert {*select(found, "visible")["block"]} == {1, 2}


@torch.no_grad()
def test_the_attention_of_tnt_is_that_of_its_outer_tokens():
    looked_at = model("tnt_s_patch16_224", **OTHERS["tnt_s_patch16_224"][0])
    net, pixels = looked_at.net, torch.from_numpy(Dataset().values) / 255
    entered = []
    hook = net.blocks[1].attn_out.register_forward_hook(lambda m, inputs, output: entered.append(inputs[0]))
    looked_at(pixels)
    hook.remove()
    module = net.blocks[1].attn_out
    query, key = module.qk(entered[0]).unflatten(2, (2, 3, 8)).permute(2, 0, 3, 1, 4)
    expected = (query @ key.transpose(2, 3) / 8**0.5).softmax(3)
    assert torch.allclose(looked_at.attention(pixels)[1], expected, atol=1e-5)


def test_a_picture_shows_blocks_beside_each_other_and_heads_below(tmp_path):
    looked_at = model("deit_tiny_distilled_patch16_224", **SMALL)
    file = tmp_path / "examples.safetensors"
    asked = subject(looked_at, settings=attention.SETTINGS | SETTINGS)
    measuring.measure("attention", asked, tmp_path / "table.parquet", file)
    drawn, told = measuring.picture("attention", {"vit": file})
    assert isinstance(drawn, Image.Image)
    assert told["columns"] == ["seen", "block 1", "block 2", "block 3"]
    assert len(told["rows"]) == 2 * (2 + 3) + 2 * 3
    step = attention.CELL_PIXELS + 4
    cells = np.asarray(drawn)[: attention.CELL_PIXELS]
    assert drawn.size == (4 * step - 4, 16 * step - 4)
    assert (cells[:, : attention.CELL_PIXELS] == 255).all()  # nothing hides the untouched images
    mask = np.asarray(drawn)[step : step + attention.CELL_PIXELS, : attention.CELL_PIXELS]
    assert (mask == 255).mean() == pytest.approx(4 / 16)
    # The brightest place of a map is its most attended patch.
    maps = safetensors.torch.load_file(file)["maps"]
    brightest = maps[1, 0, 0].mean(0).flatten().argmax().item()
    row, column = ((2 * p + 1) * attention.CELL_PIXELS // 8 for p in divmod(brightest, 4))
    assert tuple(cells[row, step + column]) == attention.COLOURS[-1]


def test_a_map_is_drawn_from_0_to_what_2_percent_of_its_patches_exceed():
    attended = torch.zeros(10, 10)
    attended[0, :5] = torch.tensor([9, 0.4, 0.4, 0.2, 0.1])
    attended[5:] = 0.4
    everything, cell = torch.ones(1, SIDE, SIDE, dtype=torch.bool), attention.CELL_PIXELS
    drawn = attention.coloured(attended, everything, None) * 255
    half = round(cell / 20)
    for place, expected in [(0, -1), (1, -1), (2, -1), (3, 2), (4, 1), (5, 0)]:
        found = drawn[half, half + round(place * cell / 10)]
        assert found.numpy() == pytest.approx(attention.COLOURS[expected], abs=1), place
    assert torch.equal(drawn[-half, half], drawn[half, half + round(2 * cell / 10)])


def test_the_outline_is_that_of_what_is_visible():
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[:, 8:16, 8:24] = True
    attended = torch.full((4, 4), 1 / 16)
    plain, outlined = (attention.coloured(attended, m, None) for m in (torch.ones_like(mask), mask))
    height, width = (round(p * attention.CELL_PIXELS / SIDE) for p in (8, 16))
    changed = (plain != outlined).any(2)
    assert changed.sum() == 2 * (height + width) - 4
    rows, columns = changed.nonzero().T
    assert (rows.min(), rows.max() + 1) == (height, 2 * height)
    assert (columns.min(), columns.max() + 1) == (height, height + width)


def test_patches_that_tiles_cut_count_by_what_is_visible_of_them():
    looked_at = model("vit_tiny_patch16_224", **SMALL)
    settings = {"grid": "2x8", "dropped": 0.5}
    found, _ = measured(looked_at, settings)
    rows = select(found, "patch", block=1, head=0)
    halves = grids.spread(torch.arange(16.0)[None], 2, 8, SIDE, SIDE)
    assert halves.shape == (1, 1, SIDE, SIDE)
    assert set(rows["visible_fraction"]) <= {0, 0.5, 1} and 0.5 in rows["visible_fraction"]
    assert rows["visible_fraction"].mean() == 0.5
