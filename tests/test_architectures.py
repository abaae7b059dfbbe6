"""Every architecture of config/imagenet.yaml, with random weights, through all that is asked of a model.

A new model is tested by being in the config. What its network is, what applies to it and what holds for any
weights is told here from what papers say of the networks, not by what the code answers.
"""

import contextlib
import functools
import gc
import importlib
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import torchvision
import yaml
from PIL import Image

from conftest import MEASURES, PERTURBATIONS, ROOT
from patchwork import (
    catalogue,
    costs,
    exporting,
    fetching,
    foreground,
    grids,
    hooks,
    masked,
    measuring,
    models,
    operations,
    packed,
    patches,
    pixels,
    probing,
    readouts,
    saliency,
    strips,
    tokens,
    training,
    views,
)
from patchwork.measures import information_loss

CONFIG = yaml.safe_load((ROOT / "config/imagenet.yaml").read_text())
COUNTED = json.loads((ROOT / "rules/operations.json").read_text())
COMPUTE = {"device": "cpu", "dtype": "float32", "channels_last": True, "batch_images": 2}

# By the beginning of a name in timm: what the features before the head are wide, and how many blocks a
# transformer has; of others how many places a side of each map has that enters a stage or leaves the last.
NETWORKS = {
    "deit_tiny": (192, 12),
    "deit_small": (384, 12),
    "deit_base": (768, 12),
    "vit_small_patch16_224_2020": (768, 8),
    "vit_small": (384, 12),
    "vit_base": (768, 12),
    "vit_large": (1024, 24),
    "t2t_vit_7": (256, 7),
    "t2t_vit_14": (384, 14),
    "t2t_vit_24": (512, 24),
    "tnt_s": (384, 12),
    "swin_tiny": (768, [56, 56, 28, 14, 7]),
    "swin_small": (768, [56, 56, 28, 14, 7]),
    "swin_base": (1024, [56, 56, 28, 14, 7]),
    "regnety_016": (888, [112, 56, 28, 14, 7]),
    "regnety_040": (1088, [112, 56, 28, 14, 7]),
    "regnety_080": (2016, [112, 56, 28, 14, 7]),
    "resnet50": (2048, [56, 56, 28, 14, 7]),
    "vgg19_bn": (4096, [224, 112, 56, 28, 14, 7]),
    "densenet121": (1024, [56, 28, 14, 7, 7]),
    "torchvision_squeezenet1_1": (512, [111, 55, 27, 13]),
    "torchvision_alexnet": (4096, [55, 27, 6]),
}
NORMALISE_BATCHES = ("regnety", "resnet50", "vgg19_bn", "densenet121")

# Networks that timm has under a second name, which differ in nothing but their weights.
TWINS = {
    "vit_small_patch16_224": "deit_small_patch16_224",
    "vit_base_patch16_224": "deit_base_patch16_224",
}

# Whose multiplications torchvision has published.
PUBLISHED = {
    "deit_base_patch16_224": "vit_b_16",
    "vit_large_patch16_224": "vit_l_16",
    "swin_tiny_patch4_window7_224": "swin_t",
    "swin_small_patch4_window7_224": "swin_s",
    "swin_base_patch4_window7_224": "swin_b",
    "resnet50": "resnet50",
    "vgg19_bn": "vgg19_bn",
    "densenet121": "densenet121",
    "torchvision_squeezenet1_1": "squeezenet1_1",
    "torchvision_alexnet": "alexnet",
}

# What is measured in which: transformers with a class token, those whose positions timm can stretch, those
# with a second token, all.
APPLIES = {
    "attention": {"vit", "distilled", "tnt"},
    "attention_placed": {"vit", "distilled", "tnt"},
    "block_accuracy": {"vit", "distilled", "tnt"},
    "segmentation": {"vit", "distilled"},
    "token_similarity": {"distilled"},
    "information_loss": {"vit", "distilled", "tnt", "stages"},
}

# Variants and levels of every perturbation; those of feature_drop hang on the network. What does not look at
# the model is asked once.
ASKED = {
    "adversarial_patch": [("own", 0.05)],
    "adversarial_patch_aligned": [("own", 0.05)],
    "apgd_ce": [("plain", 4)],
    "apgd_t": [("plain", 4)],
    "clean": [("plain", 0)],
    "corrupt": [("contrast", 3)],
    "feature_drop": [],
    "fgsm": [("plain", 4)],
    "noise_patch": [("plain", 0.15)],
    "nonsalient_drop": [("area", 0.5)],
    "offset_drop": [("14x14_wrap", 0.5)],
    "offset_sweep": [("14x14_50", 3)],
    "pgd": [("plain", 4)],
    "pgd_random_start": [("plain", 4)],
    "pixel_drop": [("plain", 0.5)],
    "placement": [("plain", 1)],
    "random_drop": [("14x14", 0.5), ("14x14_mean", 0.5), ("14x14_removed", 0.5), ("8x8_removed", 0.5)],
    "salient_drop": [("mass", 0.5)],
    "shuffle_grid": [("plain", 4), ("plain", 196)],
}
# Of a further one its first variant, at its last level.
for each, facts in catalogue.variants(catalogue.catalogue(PERTURBATIONS), ["own"]).items():
    ASKED.setdefault(each.split("/")[0], [(each.split("/")[1], facts["levels"][-1])])
SETTINGS = {
    "pgd": {"steps": 2},
    "pgd_random_start": {"steps": 1},
    "apgd_ce": {"steps": 1},
    "apgd_t": {"steps": 1, "targets": 1},
}
PATCH_STEPS = 2
# Attacks that are not the paper's, and ask no more of a network than PGD does: heavy ones are spared them.
BEYOND = ("pgd_random_start", "apgd_ce", "apgd_t")


def architectures():
    """Entries of the config whose networks differ in more than their weights, and the heads that decide in
    some model: {name: (entry, heads)}. What only encodes images for a stylizer is left out."""
    encoders = {stylizer["encoder"] for stylizer in CONFIG.get("stylizers", {}).values()}
    found = {}
    for entry in (entry for name, entry in CONFIG["models"].items() if name not in encoders):
        facts = timm.get_pretrained_cfg(entry["timm"])
        options = {"num_classes": facts.num_classes if facts else 1000} | entry.get("options", {})
        differs = {key: value for key, value in options.items() if (key, value) != ("num_classes", 1000)}
        differs |= {key: entry[key] for key in ("size",) if key in entry}
        parts = [f"{key}_{value}" for key, value in sorted(differs.items())]
        name = "-".join([entry["timm"].partition(".")[0], *parts])
        bare = {key: entry[key] for key in ("timm", "options", "size") if key in entry}
        found.setdefault(name, (bare, []))[1].append(entry.get("head"))
    return {name: (entry, list(dict.fromkeys(heads))) for name, (entry, heads) in found.items()}


ARCHITECTURES = architectures()


class Told:
    """What is known of an architecture without building it."""

    def __init__(self, name):
        self.entry, self.heads = ARCHITECTURES[name]
        known = next((beginning for beginning in NETWORKS if name.startswith(beginning)), None)
        assert known, f"tell in NETWORKS what {name} is"
        self.width, places = NETWORKS[known]
        self.maps = places if isinstance(places, list) else None
        self.places = len(places) if self.maps else places
        self.kind = "stages" if self.maps else "tnt" if known == "tnt_s" else "vit"
        if "distilled" in name:  # a vision transformer with a second token
            self.kind = "distilled"
        self.classes = 0 if "num_classes_0" in name else 1000
        self.positions = "pos_embed_none" not in name
        swin = known.startswith("swin")
        self.patch = self.entry.get("options", {}).get("patch_size", 4 if swin else 16)
        self.grid = (224 // self.patch,) * 2 if swin or not self.maps else None
        self.normalises_batches = known.startswith(NORMALISE_BATCHES)
        self.published = PUBLISHED.get(name)

    def has(self, perturbation, variant):
        """Whether a perturbation can be done to the network."""
        of_vits = self.kind in ("vit", "distilled")
        if variant.endswith("_removed"):  # of whole tokens, by leaving them out
            return of_vits and self.grid[0] % grids.parse(variant)[0] == 0
        return of_vits or not variant.startswith("mask")


def test_tables_tell_of_all_that_can_be_asked():
    assert set(ASKED) == set(catalogue.catalogue(PERTURBATIONS))
    assert set(APPLIES) == set(CHECKS) <= set(MEASURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_a_network_has_the_blocks_stages_and_tokens_that_are_known(name):
    told = Told(name)
    with torch.device("meta"):
        model = models.Model(models.create(told.entry).eval())
        images = torch.empty(1, 3, 224, 224)
    assert model.size == (224, 224) and model.grid == told.grid
    cut = [side * told.patch for side in told.grid] if told.grid else [224, 224]
    assert [*grids.reach(model, 224, 224)] == cut
    assert model.net.num_classes == told.classes
    assert hasattr(model.net, "head_dist") == (told.kind == "distilled")
    assert hooks.depth(model.net) == told.places and bool(hooks.token_blocks(model.net)[0]) != bool(told.maps)
    if told.maps:
        assert positions(model, images, told.places)[0] == [side**2 for side in told.maps]
    assert hooks.masks_keys(model.net) == told.has("feature_drop", "mask_50")
    for variant, level in ASKED["random_drop"]:
        refused = views.View(None, "set", "random_drop", variant).refusal(level, model)
        assert (refused is None) == told.has("random_drop", variant)
    for measure in ("attention", "segmentation", "token_similarity"):  # the others try a pass
        refused = importlib.import_module(f"patchwork.measures.{measure}").refuses(model)
        assert (refused is None) == (told.kind in APPLIES[measure])


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_the_same_network(name):
    with torch.device("meta"):
        one, other = (models.create({"timm": each}) for each in (name, TWINS[name]))
    assert str(one) == str(other) and one.num_classes == other.num_classes
    assert [block.attn.num_heads for block in one.blocks] == [block.attn.num_heads for block in other.blocks]
    assert {key: value.shape for key, value in one.state_dict().items()} == {
        key: value.shape for key, value in other.state_dict().items()
    }


def positions(model, images, places):
    """From how many positions features can be taken at each place, and logits if they are taken nowhere."""
    found = []

    def nowhere(positions):
        found.append(positions)
        return torch.zeros(1, positions, dtype=torch.bool, device=images.device)

    with contextlib.ExitStack() as stack:
        for place in range(1, places + 1):
            stack.enter_context(hooks.zeroed(model, place, nowhere))
        logits = model(images)
    return found, logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Smooth pictures of two classes, and two with masks, a square one and another."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)

    def draw(name, width, height):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        values = random.integers(0, 256, (7, 7, 3), np.uint8)
        Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC).save(root / name)

    for number in range(2):
        draw(f"classes/a/{number}.png", 256, 240)
        draw(f"classes/b/{number}.png", 240, 256)
    for name, size in {"square": (96, 96), "wide": (120, 80)}.items():
        draw(f"objects/{name}.png", *size)
        mask = np.zeros(size[::-1], np.uint8)
        mask[20:60, 30:70], mask[60:64] = 3, 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / f"masks/{name}.png")
    (root / "square.txt").write_text("square\n")
    view = {"resize": 224, "crop": 224, "interpolation": "bilinear"}
    pixels.pack(root / "classes", root / "a.npy", root / "a.parquet", view)
    return root


class Looked:
    """An architecture with random weights, built from a file as every job does, and two images to look at, of
    a `heavy` network one.

    The labels of the images are what the model says, so that attacks have something to do.
    """

    def __init__(self, name, folder, path):
        self.name, self.told, self.folder, self.path = name, Told(name), folder, path
        self.operations = operations.count({"options": None, "size": None} | self.told.entry)
        self.heavy = self.operations > 1e10
        images = 1 if self.heavy else 2
        fetching.fetch(name, self.told.entry | {"weights": "random"}, path / "weights.safetensors")
        self.model = models.place(self.built(self.told.heads[0]), COMPUTE)
        self.data = packed.Packed(folder / "a.npy", folder / "a.parquet")
        self.data.paths, self.data.labels = self.data.paths[:images], self.data.labels[:images]
        with torch.inference_mode():
            self.images = packed.pixels(self.data, 0, images, "cpu")
            self.logits = self.model(self.images)
        assert self.logits.isfinite().all() and self.logits.std() > 0
        self.data.labels = self.logits.argmax(1).numpy()

    def entry(self, head):
        return self.told.entry | ({"head": head} if head else {})

    def built(self, head, classes=None):
        return models.build(self.entry(head), self.path / "weights.safetensors", classes)

    def subject(self, data=None, **settings):
        return measuring.Subject(self.model, data or self.data, "set", COMPUTE, settings, (0,))


def same(one, other, share=1e-4):
    return (one - other).abs().max() <= share * other.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in TWINS])
def test_all_that_is_asked_of_a_model(name, folder, monkeypatch):
    with tempfile.TemporaryDirectory() as temporary:  # gigabytes of weights, which pytest would keep
        path = Path(temporary)
        check(Looked(name, folder, path), monkeypatch)
        gc.collect()  # one network in memory
        if Told(name).classes:
            check_training(Told(name), folder, path)


def check(looked, monkeypatch):
    check_costs(looked)
    check_places(looked)
    if looked.told.classes:
        check_perturbations(looked)
    else:
        with pytest.raises(ValueError, match="learnt no classes"):
            looked.built(None, ["a", "b"])
    check_measures(looked, monkeypatch)
    check_attention(looked)
    check_tokens(looked)
    check_batch_statistics(looked)
    check_heads(looked)


def check_costs(looked):
    """What a pass takes is counted, as published and as planning reads it, and told for all perturbations."""
    assert looked.operations == COUNTED[costs.network(looked.told.entry)]
    if published := looked.told.published:
        facts = torchvision.models.get_model_weights(published).DEFAULT.meta
        assert looked.operations / 2e9 == pytest.approx(facts["_ops"], rel=0.01)
    listed = catalogue.variants(catalogue.catalogue(PERTURBATIONS), ["own"])
    rates = costs.Rates([], "cpu", COMPUTE, listed, {"model": looked.told.entry})
    rates.operations = {costs.network(looked.told.entry): looked.operations}
    for perturbation, variant in (each.split("/") for each in listed):
        strip = {"dataset": "set", "model": "model", "perturbation": perturbation, "variant": variant}
        assert rates.seconds(strip) >= looked.operations / 0.05e12


def check_places(looked):
    """Nothing changes where no features are taken away, and there are as many as is known."""
    told = looked.told
    with torch.inference_mode():
        found, logits = positions(looked.model, looked.images, told.places)
    assert found == [side**2 for side in told.maps or [told.grid[0]] * told.places]
    assert torch.equal(logits, looked.logits)


def check_perturbations(looked):
    told, model = looked.told, looked.model
    names = [name for name in ASKED if not (looked.heavy and name in BEYOND)]
    asked = [(name, variant, level) for name in names for variant, level in ASKED[name]]
    places = (1, told.places, told.places + 1)
    asked += [("feature_drop", variant, place) for variant in ("zero_50", "mask_50") for place in places]
    ranks = np.random.default_rng(1).permuted(np.tile(np.arange(196) / 196, (2, 1)), axis=1)
    given = {"saliency": ranks.astype(np.float32).reshape(2, 14, 14), "patches": crafted(looked)}
    shuffled = []
    for perturbation, variant, level in asked:
        settings = SETTINGS.get(perturbation)
        strip = strips.Strip(model, looked.data, "set", perturbation, variant, COMPUTE, settings)
        for need in strip.files.keys() & given.keys():
            (strip.arrays if need == "saliency" else strip.files)[need] = given[need]
        beyond = perturbation == "feature_drop" and level > told.places
        applies = told.has(perturbation, variant) and not beyond
        assert (strip.refusal(level, model) is None) == applies, (perturbation, variant, level)
        if not applies:
            continue
        batch = strip.batch(0, 1)
        first, _ = strip.perturb(batch, strip.module.LEVELS[0], 0, model)
        assert torch.equal(first, batch.images) and strip.refusal(strip.module.LEVELS[0], model) is None
        seen, dropped = strip.perturb(batch, level, 0, model)
        assert seen.shape == batch.images.shape and seen.min() >= 0 and seen.max() <= 1
        if perturbation in ("fgsm", "pgd", "pgd_random_start", "apgd_ce", "apgd_t"):
            assert (seen - batch.images).abs().max() <= level / 255 + 1e-6
        with strip.inside(batch, level, 0, model):
            logits = strip.decide(seen)
        assert logits.isfinite().all(), (perturbation, variant, level)
        if perturbation == "clean":
            assert same(logits, looked.logits[:1])
            found = strip.decide_batch(0, 1, [(0, 0)])[0]
            assert found[0, :2].tolist() == [looked.data.labels[0], 0]
        elif not perturbation.startswith("apgd"):  # an image that withstands it stays as it is
            assert not torch.equal(logits, looked.logits[:1]), (perturbation, variant, level)
        if perturbation == "shuffle_grid":
            shuffled.append(logits)
        if dropped is not None:
            check_lost(told, strip.tokens(dropped), dropped)
    if not told.positions:  # tokens that keep their pixels are the same set of tokens
        assert all(same(logits, looked.logits[:1]) for logits in shuffled)


def check_lost(told, shares, dropped):
    """Tokens are counted where the network cuts them, from the first row and column on."""
    if not told.grid:
        assert all(share.isnan().all() for share in shares)
        return
    rows, columns = told.grid
    cut = dropped[:, 0, : rows * told.patch, : columns * told.patch].numpy()
    cut = cut.reshape(len(cut), rows, told.patch, columns, told.patch)
    wholly, partly = cut.all((2, 4)), cut.any((2, 4))
    expected = [wholly.mean((1, 2)), (partly & ~wholly).mean((1, 2))]
    assert torch.stack(shares).numpy() == pytest.approx(np.stack(expected), abs=1e-6)


def crafted(looked):
    """A patch against the network, and that it begins where a token does."""
    path = looked.path / "patches"
    path.mkdir(exist_ok=True)
    view = views.View(looked.data, "set", "adversarial_patch_aligned", "own")
    found = patches.craft(view, looked.model, [0.05], [0], PATCH_STEPS, 2, path)
    assert all(patch.isfinite().all() and 0 <= patch.min() < patch.max() <= 1 for patch in found.values())
    view.files["patches"] = found
    batch = view.batch(0, len(looked.images))
    seen, _ = view.perturb(batch, 0.05, 0, looked.model)
    step = looked.told.patch if looked.told.grid else 16
    for changed in (seen != batch.images).any(1):
        assert [int(changed.any(1 - side).nonzero()[0]) % step for side in (0, 1)] == [0, 0]
    return found


def check_measures(looked, monkeypatch):
    monkeypatch.setattr(information_loss, "LEVELS", [0, 0.5])
    listed = {"listed": looked.folder / "square.txt"} if looked.heavy else {}
    objects = masked.Masked(looked.folder / "objects", void=255, masks=looked.folder / "masks", **listed)
    for measure, entry in MEASURES.items():
        if measure == "block_accuracy" and not looked.told.classes:
            continue
        settings = entry.get("settings", {})
        if measure == "segmentation":
            settings = {"size": 224} if looked.heavy else settings
        subject = looked.subject(objects if measure == "segmentation" else None, **settings)
        table, examples = looked.path / f"{measure}.parquet", looked.path / f"{measure}.safetensors"
        measuring.measure(measure, subject, table, examples)
        found, refused = pq.read_table(table), pq.read_schema(table).metadata[b"refused"]
        applies = looked.told.kind in APPLIES[measure] if measure in APPLIES else not refused
        assert (not refused) == applies == bool(len(found)), (measure, refused)
        if applies and measure in CHECKS:
            columns = {name: found[name].to_numpy() for name in found.column_names}
            CHECKS[measure](looked, columns, objects)
        if "shows" in entry:
            drawn, _ = measuring.picture(measure, {"model": examples})
            assert (min(drawn.size) > 1) == applies


def check_information_loss(looked, columns, objects):
    value, level, images = columns["value"], columns["level"], len(looked.images)
    of_images = columns["kind"] == "image"
    assert value[of_images & (level == 0)] == pytest.approx([1] * images, abs=1e-6)
    assert np.isfinite(value[of_images]).all() and (np.abs(value[of_images]) <= 1 + 1e-6).all()
    dimensions = (columns["kind"] == "dimension") & (level == 0)
    assert dimensions.sum() == looked.told.width
    if images > 1:  # else nothing varies
        assert np.nanmax(np.abs(value[dimensions] - 1)) < 1e-6
        assert value[(columns["kind"] == "cka") & (level == 0)] == pytest.approx([1], abs=1e-6)


def check_maps(looked, columns, objects):
    told, tiles = looked.told, math.prod(looked.told.grid)
    assert set(columns["block"]) == set(range(1, told.places + 1))
    of_patches = columns["kind"] == "patch"
    second = {"shape"} if told.kind == "distilled" else set()
    assert set(columns["token"][of_patches]) == {"class"} | second
    for column in ("occluded", "untouched"):
        shares = columns[column][of_patches].reshape(-1, tiles)
        assert (shares >= 0).all() and shares.sum(1) == pytest.approx(np.ones(len(shares)), abs=1e-5)


def check_attention_table(looked, columns, objects):
    check_maps(looked, columns, objects)
    told = looked.told
    far = columns["distance_pixels"][columns["kind"] == "distance"]
    assert (far > 0).all() and (far < (told.grid[0] - 1) * told.patch * math.sqrt(2)).all()


def check_block_accuracy(looked, columns, objects):
    last = columns["block"] == looked.told.places
    assert columns["rank"][last].tolist() == [0] * len(looked.images)  # the labels are what the model says
    assert len(last) == len(looked.images) * looked.told.places and (columns["rank"] >= 0).all()


def check_segmentation(looked, columns, objects):
    heads, seen = set(columns["head"]), 1 if looked.heavy else 2
    second = looked.told.kind == "distilled"
    aspects = 1 if looked.heavy else 3  # a square picture is measured once, another twice
    assert len(columns["image"]) == aspects * (1 + second) * (10 + len(heads) - 1)
    assert set(columns["class_id"]) == {3} and set(columns["image"]) == set(range(seen))
    for name in ("jaccard", "jaccard_void", "random", "random_void"):
        assert ((columns[name] >= 0) & (columns[name] <= 1)).all()


def check_token_similarity(looked, columns, objects):
    assert len(columns["image"]) == len(looked.images) * looked.told.places
    for name in ("cosine", "cosine_before_norm"):
        assert (np.abs(columns[name]) <= 1 + 1e-6).all()


CHECKS = {
    "information_loss": check_information_loss,
    "attention": check_attention_table,
    "attention_placed": check_maps,
    "block_accuracy": check_block_accuracy,
    "segmentation": check_segmentation,
    "token_similarity": check_token_similarity,
}


def check_attention(looked):
    """Rows of attention sum to 1, and those of the class token in the last block are the foreground."""
    told, model = looked.told, looked.model
    if told.kind == "stages":
        with pytest.raises(ValueError, match="has no class token"):
            saliency.ranks(model, looked.data, COMPUTE, "mean", "14x14")
        return
    with torch.inference_mode():
        maps = model.attention(looked.images[:1])
    assert len(maps) == told.places
    for each in maps:
        assert each.shape[3] == math.prod(told.grid) + 1 + (told.kind == "distilled")
        assert (each.sum(3) - 1).abs().max() < 1e-5
    if told.grid[0] * told.patch != 224:  # no tile of an image is that of a token
        with pytest.raises(ValueError, match="leave out a border"):
            saliency.ranks(model, looked.data, COMPUTE, "mean", "14x14")
        return
    ranks = saliency.ranks(model, looked.data, COMPUTE, "mean", "14x14")
    attended = maps[-1][0, :, 0, -math.prod(told.grid) :].mean(0)
    if told.grid == (14, 14):
        assert ranks[0].flatten()[attended.argmax()] == 0
    assert ranks.max() < 1 and (ranks.flatten(1).min(1).values == 0).all()
    where = np.zeros((len(ranks), 1, 224, 224), bool)
    where[:, :, 50:150, 50:150] = True
    rows = np.arange(len(ranks))
    scores = foreground.scores(rows, ranks.numpy(), where, rows.tolist())
    assert 0 <= min(scores["jaccard"].to_pylist()) <= max(scores["jaccard"].to_pylist()) <= 1


def check_tokens(looked):
    """What classifiers read are the tokens of every block, or the mean of the map of every stage."""
    told = looked.told
    tokens.extract(looked.subject(), looked.path / "tokens.npy")
    stored = tokens.Tokens(looked.path / "tokens.npy")
    assert stored.refused is None and len(stored) == len(looked.images)
    with torch.inference_mode():
        features = looked.model.features(looked.images).numpy()
    assert features.shape == (len(looked.images), told.width)
    scale = float(np.abs(features).max())
    assert stored.features([stored.decides]) == pytest.approx(features, rel=2**-9, abs=1e-3 * scale)
    read = readouts.of_probes(stored)
    widths = {
        (names["blocks"], names["patch"]): sum(stored.parts[place]["width"] for place in places)
        for names, places in read
        if names["block"] is None or names["blocks"] == "last"
    }
    assert widths["last", "none"] == told.width
    if told.kind != "stages":
        kinds = {part["token"] for part in stored.parts}
        assert kinds == {"class", "patch"} | ({"shape"} if told.kind == "distilled" else set())
        assert stored.depth == told.places and widths["all", "none"] == told.places * told.width
        assert widths["last4", "none"] == 4 * told.width and widths["last", "last"] == 2 * told.width
        assert widths["all", "each"] == 2 * told.places * told.width
    else:
        assert {part["token"] for part in stored.parts} == {"pooled"} and stored.depth > 1


def check_batch_statistics(looked):
    """The authors' protocol makes batches decide, and leaves the model as it is."""
    assert probing.normalises_batches(looked.model) == looked.told.normalises_batches
    if looked.told.normalises_batches:
        with torch.inference_mode():
            features = probing.by_batch(looked.model).features(looked.images)
            assert features.shape == (len(looked.images), looked.told.width) and features.isfinite().all()
            assert torch.equal(looked.model(looked.images), looked.logits)


def check_heads(looked):
    """Each head of a distilled network decides alone, by its own token; else the mean of both does."""
    if looked.told.kind != "distilled":
        assert looked.told.heads == [None]
        return
    with torch.inference_mode():
        both = models.heads(looked.model.net, looked.model.prepare(looked.images))
    both |= {None: (both["class"] + both["shape"]) / 2}
    assert same(looked.logits, both[looked.told.heads[0]])
    for head in looked.told.heads[1:]:
        model = models.place(looked.built(head), COMPUTE)
        with torch.inference_mode():
            assert same(model(looked.images), both[head])
        layout = tokens.layout(model)
        assert layout["parts"][layout["decides"]]["token"] == head


def check_training(told, folder, path):
    """A step forward and back moves the first and the last layer; what is exported gives the same logits."""
    recipe = {
        **{"epochs": 1, "batch_images": 2, "optimizer": "sgd", "learning_rate": 1e-2, "weight_decay": 0},
        **{"warmup_epochs": 0, "label_smoothing": 0.1},
    }
    teacher = None
    if told.kind == "distilled":
        entry = {"timm": "resnet10t", "size": 32}
        models.save(path / "teacher.safetensors", models.create(entry, 2).state_dict(), ["a", "b"])
        teacher = functools.partial(models.build, entry, path / "teacher.safetensors")
    given = {"compute": COMPUTE, "images": 2, "teacher": teacher}
    run = training.Training(told.entry, folder / "classes", "run", recipe, **given)
    ends = [value for value in run.net.parameters() if value.requires_grad and value.ndim > 1]
    before = [value.clone() for value in (ends[0], ends[-1])]
    run.run(1)
    assert math.isfinite(run.metrics[0]["loss"]) and run.metrics[0]["loss"] > 0
    assert all(not torch.equal(*pair) for pair in zip(before, (ends[0], ends[-1]), strict=True))
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    run.model.eval()
    with torch.inference_mode():
        expected = run.model(image)
    exporting.export(run.checkpoint(), {}, path / "run.safetensors", path / "run.json", path / "run.parquet")
    assert json.loads((path / "run.json").read_text())["classes"] == ["a", "b"]
    del run, ends
    model = models.place(models.build(told.entry, path / "run.safetensors", ["a", "b"]), COMPUTE)
    with torch.inference_mode():
        assert torch.equal(model(image), expected)
