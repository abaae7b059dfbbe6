"""What is changed inside networks, against forward passes written out by hand."""

import numpy as np
import pytest
import timm
import torch

from patchwork import grids, hooks, models
from patchwork import noise as numbers
from patchwork.perturbations import feature_drop, random_drop, shuffle_grid
from patchwork.views import View
from test_perturbations import Dataset

SMALL = {"embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
TRANSFORMERS = {  # name: options and tokens that are no patches
    "vit_tiny_patch16_224": ({"img_size": 32, "patch_size": 8}, 1),
    "deit_tiny_distilled_patch16_224": ({"img_size": 64}, 2),
    "vit_small_patch14_reg4_dinov2": ({"img_size": 56}, 5),
}
RESNET = {"channels": [8, 8, 8, 8], "stem_width": 4, "num_classes": 5}


def network(name, **options):
    """A model whose every weight is random, so that no part of it can be left out unnoticed."""
    torch.manual_seed(0)
    net = timm.create_model(name, **options).eval()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(
                torch.rand_like(value) * 0.4 + 0.1 if value.ndim < 2 else torch.randn_like(value) * 0.2
            )
    return models.Model(net, None if name in TRANSFORMERS else (32, 32))


def transformer(name):
    options, prefix = TRANSFORMERS[name]
    return network(name, **(SMALL | options)), prefix


def pictures(model, images=3):
    return torch.rand(images, 3, *model.size, generator=torch.Generator().manual_seed(1))


def keys(images=3):
    return torch.randint(2**62, [images], generator=torch.Generator().manual_seed(2))


def noise(images=3, count=4096):
    return numbers.uniform(keys(images), count)


def smallest(row, share, positions):
    """The floor(share * positions) positions with the smallest numbers."""
    return sorted(range(positions), key=row[:positions].tolist().__getitem__)[: int(share * positions)]


def by_hand(model, image, change, block):
    """Logits of one image; `change` is applied to the tokens as they enter `block`, counted from 0."""
    net = model.net
    tokens = net.norm_pre(net._pos_embed(net.patch_embed(model.prepare(image[None]))))
    for number, layer in enumerate(net.blocks):
        tokens = layer(change(tokens) if number == block else tokens)
    return net.forward_head(net.norm(tokens))[0]


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize(("variant", "share"), [("zero_25", 0.25), ("zero_50", 0.5), ("zero_75", 0.75)])
@torch.no_grad()
def test_patch_tokens_that_enter_a_block_are_zeroed(name, variant, share):
    model, prefix = transformer(name)
    images, drawn, positions = pictures(model), noise(), np.prod(model.grid)
    untouched = model(images)
    for block in range(3):
        with feature_drop.inside(model, block + 1, keys(len(images)), variant):
            logits = model(images)

        for number, image in enumerate(images):
            rows = [prefix + place for place in smallest(drawn[number], share, positions)]
            assert len(rows) == int(share * positions) > 0

            def zero(tokens, rows=rows):
                tokens = tokens.clone()
                tokens[0, rows] = 0
                return tokens

            assert torch.allclose(by_hand(model, image, zero, block), logits[number], atol=1e-5)
        assert not torch.allclose(logits, untouched, atol=1e-4)
    assert torch.equal(model(images), untouched)  # nothing is left behind


@pytest.mark.parametrize("name", TRANSFORMERS)
@torch.no_grad()
def test_masked_keys_are_not_attended_to(name):
    """In the only block of a network the class token then sees what it sees if the tokens are not there."""
    options, prefix = TRANSFORMERS[name]
    # DINOv2's registers and class token attend to patches once, so one block is enough for all three
    model = network(name, **(SMALL | options | {"depth": 1}))
    if prefix == 5:
        model.net.global_pool = "token"
    images = pictures(model)
    kept = ~feature_drop.chosen(keys(), int(np.prod(model.grid)), "mask_50")
    for fused in (True, False):
        model.net.blocks[0].attn.fused_attn = fused
        with feature_drop.inside(model, 1, keys(len(images)), "mask_50"):
            masked = model(images)
        with hooks.tokens_kept(model, kept):
            removed = model(images)
        assert torch.allclose(masked, removed, atol=1e-5)
        assert not torch.allclose(masked, model(images), atol=1e-3)


@torch.no_grad()
def test_masked_keys_stay_in_the_other_blocks():
    model, _ = transformer("vit_tiny_patch16_224")
    images, seen = pictures(model), []
    watch = [
        block.attn.register_forward_hook(lambda m, i, k, o: seen.append("attn_mask" in k), with_kwargs=True)
        for block in model.net.blocks
    ]
    masks = []
    spy = model.net.blocks[1].attn.register_forward_pre_hook(lambda m, i: masks.append(i[0].shape))
    with feature_drop.inside(model, 2, keys(len(images)), "mask_25"):
        changed = model(images)
    for handle in [*watch, spy]:
        handle.remove()
    assert masks == [(3, 17, 24)]  # all tokens are still there
    assert not torch.allclose(changed, model(images), atol=1e-4)


def resnet_by_hand(model, image, share, row, place):
    net = model.net
    features = net.maxpool(net.act1(net.bn1(net.conv1(model.prepare(image[None])))))
    for number, layer in enumerate([net.layer1, net.layer2, net.layer3, net.layer4, net.global_pool], 1):
        if number == place:
            flat = features.clone().flatten(2)
            flat[..., smallest(row, share, flat.shape[2])] = 0
            features = flat.view_as(features)
        features = layer(features)
    return net.fc(features)[0]


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
@torch.no_grad()
def test_places_of_a_cnns_map_are_zeroed_in_all_channels(place):
    model = network("resnet10t", **RESNET)
    model.size = (64, 64)
    images, drawn = pictures(model), noise()
    with feature_drop.inside(model, place, keys(len(images)), "zero_50"):
        logits = model(images)
    for number, image in enumerate(images):
        expected = resnet_by_hand(model, image, 0.5, drawn[number], place)
        assert torch.allclose(expected, logits[number], atol=1e-5)
    assert not torch.allclose(logits, model(images), atol=1e-5)


def test_a_resnet_50_is_cut_where_the_paper_cuts_it():
    """Table 7: the inputs of layer1..4 (56, 56, 28, 14 places wide) and the features before pooling (7)."""
    model = models.Model(timm.create_model("resnet50").eval())
    assert hooks.depth(model.net) == 5
    sizes = []
    with torch.no_grad():
        for place in range(1, 6):
            with hooks.zeroed(model, place, lambda n: sizes.append(n) or torch.zeros(1, n, dtype=torch.bool)):
                model(torch.rand(1, 3, 224, 224))
    assert sizes == [56**2, 56**2, 28**2, 14**2, 7**2]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("regnety_002", 5),
        ("convnext_atto", 5),
        ("tf_efficientnet_lite0", 6),
        ("swin_tiny_patch4_window7_224", 5),
    ],
)
@torch.no_grad()
def test_other_networks_of_stages_are_cut_in_every_stage(name, places):
    model = models.Model(timm.create_model(name).eval())
    model.size = model.size if name.startswith("swin") else (64, 64)
    images, found = torch.rand(2, 3, *model.size), []
    assert hooks.depth(model.net) == places
    whole = model(images)
    for place in range(1, places + 1):
        with feature_drop.inside(model, place, keys(len(images)), "zero_75"):
            found.append(model(images))
    assert all(not torch.equal(logits, whole) for logits in found)
    assert torch.equal(model(images), whole)


def test_what_a_network_does_not_have_is_refused():
    vit, _ = transformer("vit_tiny_patch16_224")
    cnn = network("resnet10t", **RESNET)
    assert feature_drop.refuses(vit, 0, "zero_50") is None and feature_drop.refuses(vit, 3, "mask_50") is None
    assert "has 3 blocks or stages to take features from, no 4" in feature_drop.refuses(vit, 4, "zero_50")
    assert "no 1.5" in feature_drop.refuses(vit, 1.5, "zero_50")
    assert feature_drop.refuses(cnn, 5, "zero_50") is None
    assert "no 6" in feature_drop.refuses(cnn, 6, "zero_50")
    assert "ResNet has no attention" in feature_drop.refuses(cnn, 1, "mask_50")
    assert "ResNet has no tokens" in random_drop.refuses(cnn, 0.5, "4x4_removed")
    assert random_drop.refuses(cnn, 0.5, "4x4_mean") is None
    assert random_drop.refuses(vit, 0.5, "4x4_removed") is None
    assert "its 4x4 tokens do not divide 14x14 tiles" in random_drop.refuses(vit, 0.5, "14x14_removed")
    assert random_drop.refuses(vit, 1, "4x4_removed") is None  # the class token is left
    vit.net.global_pool = "avg"
    assert "it averages its patch tokens" in random_drop.refuses(vit, 1, "4x4_removed")


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "tnt_s_patch16_224"])
@torch.no_grad()
def test_other_transformers_lose_tokens_in_their_blocks(name):
    model = models.Model(timm.create_model(name, depth=2, num_classes=5).eval())
    images, seen, positions = pictures(model, 1), [], 256 if name.startswith("eva") else 196
    assert hooks.depth(model.net) == 2
    assert feature_drop.refuses(model, 2, "zero_50") is None
    place = 1 if name.startswith("tnt") else 0
    with feature_drop.inside(model, 2, keys(1), "zero_50"):
        watch = model.net.blocks[1].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[place]))
        model(images)
    watch.remove()
    zero = (seen[-1][0] == 0).all(1).nonzero()[:, 0].tolist()
    assert set(zero) == {1 + place for place in smallest(noise(1)[0], 0.5, positions)}
    assert (feature_drop.refuses(model, 1, "mask_50") is None) == name.startswith("eva")


@pytest.mark.parametrize(
    "name",
    [
        "mixer_s32_224",
        "coat_tiny",
        "volo_d1_224",
        "pvt_v2_b0",
        "cait_xxs24_224",
        "pit_ti_224",
        "twins_pcpvt_small",
    ],
)
def test_networks_whose_features_cannot_be_zeroed_by_place_are_refused(name):
    model = models.Model(timm.create_model(name).eval())
    assert feature_drop.refuses(model, 0, "zero_50") is None
    assert type(model.net).__name__ in feature_drop.refuses(model, 1, "zero_50")


@torch.no_grad()
def test_a_map_may_have_more_places_than_the_image_has_pixels():
    model = models.Model(timm.create_model("resnet10t", **RESNET).eval(), (64, 64))
    view = View(Dataset(3, 8, 8), "set", "feature_drop", "zero_50")
    batch, single = view.batch(0, 3), view.batch(2, 3)
    with view.inside(batch, 1, 0, model):
        together = model(batch.images)
    with view.inside(single, 1, 0, model):
        assert torch.allclose(model(single.images)[0], together[2], atol=1e-5)
    assert not torch.allclose(model(batch.images), together, atol=1e-3)


# ---- tokens that are not there ----


@pytest.mark.parametrize("name", TRANSFORMERS)
@torch.no_grad()
def test_a_model_does_not_see_removed_tokens(name):
    model, prefix = transformer(name)
    images, drawn = pictures(model), noise()
    tiles = random_drop.chosen(0.5, drawn, 4, 4)
    dropped = grids.spread(tiles, 4, 4, *model.size)
    with random_drop.inside(model, 0.5, drawn, "4x4_removed"):
        logits = model(images)
        anything = model(torch.where(dropped, torch.rand_like(images), images))
        elsewhere = model(torch.where(dropped, images, 1 - images))
    assert torch.equal(anything, logits) and not torch.allclose(elsewhere, logits, atol=1e-3)
    for number, image in enumerate(images):
        kept = [*range(prefix), *(prefix + t for t in range(16) if not tiles[number, t])]
        expected = by_hand(model, image, lambda tokens, kept=kept: tokens[:, kept], 0)
        assert torch.allclose(expected, logits[number], atol=1e-5)


@torch.no_grad()
def test_a_tile_of_several_tokens_is_removed_whole():
    model, _ = transformer("vit_tiny_patch16_224")
    images, drawn = pictures(model), noise()
    dropped = random_drop.dropped(images, 0.5, drawn, "2x2_removed")
    with random_drop.inside(model, 0.5, drawn, "2x2_removed"):
        assert torch.equal(model(images), model(torch.where(dropped, 0.0, images)))


def test_finer_grids_repeat_the_values_of_coarse_ones():
    fine = grids.finer(torch.tensor([[0, 1, 2, 3]]), (2, 2), (4, 2))
    assert fine.tolist() == [[0, 1, 0, 1, 2, 3, 2, 3]]


# ---- no positions ----


def decided(**options):
    """A transformer whose decisions are clear and differ between images."""
    model = network("vit_tiny_patch16_224", **SMALL | {"img_size": 224, "num_classes": 10} | options)
    torch.manual_seed(0)
    for name, value in model.net.named_parameters():
        same = name == "cls_token" or name.endswith("bias")  # what would be the same for every image
        value.data = torch.randn_like(value) * (0 if same else 0.5)
        if name == "pos_embed":
            value.data[:, 0] = 0  # the class token's
    return model


@torch.no_grad()
def test_a_transformer_without_positions_does_not_see_that_its_tokens_are_shuffled():
    """Figure 10: without positional encoding 2x2 and the grid of the tokens change no prediction."""
    drawn = noise(32, 256)
    without, given = decided(pos_embed="none"), decided()
    images = torch.rand(32, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    identity = without(images).argmax(1)
    assert len(set(identity.tolist())) > 3
    for level in (4, 196):
        shuffled = shuffle_grid.apply(images, level, drawn)
        assert not torch.equal(shuffled, images)
        assert torch.equal(without(shuffled).argmax(1), identity)
        assert torch.allclose(without(shuffled), without(images), atol=1e-3)
        assert not torch.equal(given(shuffled).argmax(1), given(images).argmax(1))
    cut = shuffle_grid.apply(images, 256, drawn)  # 16x16 tiles cut the tokens
    assert not torch.equal(without(cut).argmax(1), identity)
