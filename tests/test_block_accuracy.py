"""Accuracy of blocks: the network's own answers at the last, passes by hand before it, and marts by hand."""

import csv
import runpy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import vl_convert
from scipy.stats import binomtest

from conftest import COLUMNS, ROOT
from patchwork import models, theme, warehouse
from patchwork.measures import block_accuracy
from test_corruption_errors import Corrupted
from test_measuring import SIDE, VIT, Dataset, model, subject
from test_models import network

CLASSES = 5
VITS = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "norm in the head": ("vit_tiny_patch16_224", VIT | {"fc_norm": True}),
    "registers": ("vit_small_patch14_reg4_dinov2", VIT),
    "beit": ("beit_base_patch16_224", VIT | {"global_pool": "token"}),
    "eva": ("eva02_tiny_patch14_224", VIT | {"global_pool": "token"}),
    "tnt": (
        "tnt_s_legacy_patch16_224",
        {"img_size": SIDE, "embed_dim": 32, "inner_dim": 8, "depth": 2, "num_heads_outer": 2}
        | {"patch_size": 8, "num_heads_inner": 2},
    ),
}
DISTILLED = ("deit_tiny_distilled_patch16_224", VIT)


def built(name, options, head=None, members=None):
    """A model all of whose weights are random, and which tells some classes apart."""
    looked_at = models.Model(
        network({"timm": name, "options": options | {"num_classes": CLASSES}}), head=head
    )
    if members:
        looked_at = models.Model(looked_at.net, head=head, members=members)
    looked_at.origin = {"timm": name}
    return looked_at


class Labelled(Dataset):
    """Random images with labels."""

    def __init__(self, images=40, classes=CLASSES):
        super().__init__(images)
        self.labels = np.random.default_rng(1).integers(0, classes, images)


def ranks(looked_at, data=None, **how):
    """What the measure finds: int [images, blocks]."""
    data = data or Labelled()
    assert block_accuracy.refuses(looked_at) is None
    found, examples = block_accuracy.measure(subject(looked_at, data, **how))
    assert examples == {} and list(found) == list(block_accuracy.COLUMNS)
    depth = int(found["block"].max())
    assert found["image"].tolist() == np.arange(len(data.paths)).repeat(depth).tolist()
    assert found["block"].tolist() == [*range(1, depth + 1)] * len(data.paths)
    return found["rank"].reshape(-1, depth)


def expected(logits, labels):
    """Ranks of the labels by sorting; ties go to the lower class."""
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")
    return np.argmax(order == labels[:, None], axis=1)


@pytest.mark.parametrize("name", VITS)
@torch.inference_mode()
def test_the_last_block_decides_as_the_model_does(name):
    looked_at, data = built(*VITS[name]), Labelled()
    found = ranks(looked_at, data, batch_images=40)
    logits = looked_at(torch.from_numpy(data.values) / 255)
    assert (found[:, -1] == expected(logits, data.labels)).all()
    assert ((found[:, -1] == 0) == (logits.argmax(1).numpy() == data.labels)).all()
    assert len({*found[:, -1].tolist()}) > 1  # not all the same, whatever is asked
    assert (found[:, 0] != found[:, -1]).any()


@pytest.mark.parametrize("head", [None, "mean", "class", "shape"])
@torch.inference_mode()
def test_a_distilled_network_decides_by_the_head_that_the_model_has(head):
    looked_at, data = built(*DISTILLED, head=head), Labelled()
    found, images = ranks(looked_at, data, batch_images=40), torch.from_numpy(data.values) / 255
    assert (found[:, -1] == expected(looked_at(images), data.labels)).all()
    net, kept = looked_at.net, []
    for block in net.blocks:
        block.register_forward_hook(lambda module, inputs, output: kept.append(output))
    net(looked_at.prepare(images))
    for number, tokens in enumerate(kept):
        tokens = net.norm(tokens)
        both = {"class": net.head(tokens[:, 0]), "shape": net.head_dist(tokens[:, 1])}
        logits = both.get(head, (both["class"] + both["shape"]) / 2)
        assert (found[:, number] == expected(logits, data.labels)).all()


@torch.inference_mode()
def test_heads_of_a_distilled_network_differ():
    one, other = (ranks(built(*DISTILLED, head=head)) for head in ("class", "shape"))
    assert (one[:, -1] != other[:, -1]).any()


@torch.inference_mode()
def test_classes_are_pooled_to_categories():
    members, data = [[0, 3], [1, 2, 4]], Labelled(classes=2)
    looked_at = built(*VITS["vit"], members=members)
    found = ranks(looked_at, data, batch_images=40)
    probabilities = looked_at.net(looked_at.prepare(torch.from_numpy(data.values) / 255)).softmax(1)
    means = torch.stack([probabilities[:, each].mean(1) for each in members], 1)
    assert (found[:, -1] == expected(means, data.labels)).all()


def test_batches_change_nothing():
    looked_at = built(*VITS["vit"])
    assert (ranks(looked_at, batch_images=7) == ranks(looked_at, batch_images=40)).mean() > 0.98


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("test_resnet", {}, "ResNet has no class token"),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, "has no class token"),
        ("cait_xxs24_224", {"img_size": SIDE, "depth": 2}, "Cait has no class token in its blocks"),
        ("beit_base_patch16_224", VIT, "Beit decides by other tokens than the class token"),
        (
            "vit_tiny_patch16_224",
            VIT | {"global_pool": "avg"},
            "decides by other tokens than the class token",
        ),
    ],
)
def test_networks_that_decide_by_no_class_token_are_refused(name, options, says):
    looked_at = model(name, **options)
    looked_at.size = (options["img_size"],) * 2 if options else looked_at.size
    assert says in block_accuracy.refuses(looked_at)


@torch.inference_mode()
def test_ranks_count_the_classes_above_and_ties_go_to_the_lower():
    logits = torch.tensor([[1.0, 3, 2], [2, 2, 2], [2, 2, 2], [0, 1, 1]])
    assert models.ranks(logits, torch.tensor([0, 0, 2, 2])).tolist() == [2, 0, 2, 1]


# ---- the mart and the figure ----


class Blocks(Corrupted):
    """A dataset of six images of two classes, and made-up ranks of one model."""

    RANKS = np.array([[0, 1, 7, 9, 3, 5], [0, 0, 0, 0, 5, 1]])  # [blocks, images]

    def __init__(self, folder, class_name="n0000000{}"):
        super().__init__(folder, 6, {"net": {None: 1, "fog": 2}}, [1], class_name)

    def build(self):
        file = self.folder / "set/net/block_accuracy.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        block, image = np.indices(self.RANKS.shape)
        columns = {"image": image.ravel(), "block": block.ravel() + 1, "rank": self.RANKS.ravel()}
        fields = {name: pa.type_for_alias(kind) for name, kind in COLUMNS["block_accuracy"].items()}
        pq.write_table(pa.table({name: columns[name] for name in fields}, pa.schema(fields)), file)
        asked = {"dataset": "set", "model": "net", "measure": "block_accuracy", "model_family": "any"}
        return super().build(measures=[asked | {"file": file}])


def test_the_mart_has_shares_and_their_wilson_intervals(tmp_path):
    found = warehouse.query(Blocks(tmp_path).build(), "FROM accuracy_by_block").to_pylist()
    for row, right, close in zip(found, [1, 4], [3, 5], strict=True):
        interval = binomtest(right, 6).proportion_ci(method="wilson")
        assert (row["top1"], row["top5"]) == pytest.approx((right / 6, close / 6))
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
        assert (row["images"], row["chance"]) == (6, 0.5)


def test_readings_of_the_paper_stand_beside_those_of_imagenet_alone(tmp_path):
    figure = runpy.run_path(ROOT / "reports/figures/block_accuracy.py")
    for folder, class_name in [("imagenet", "n0000000{}"), ("drawn", "class{}")]:
        cells = warehouse.query(Blocks(tmp_path / folder, class_name).build(), figure["SQL"])
        others = [row for row in cells.to_pylist() if row["source"] != "this run"]
        names = {f"DeiT-{size} (published)" for size in "TSB"} if folder == "imagenet" else set()
        assert {row["model"] for row in others} == names
        last = {row["model"][5]: round(row["top1"], 3) for row in others if row["block"] == 12}
        assert last == ({"T": 0.722, "S": 0.799, "B": 0.816} if names else {})
        drawn = vl_convert.vegalite_to_svg(theme.specification(figure["chart"](cells), ""))
        assert "chance" in drawn and ("DeiT-S (published)" in drawn) == (folder == "imagenet")


def test_published_blocks_are_twelve_of_three_networks():
    with open(ROOT / "reports/published.csv", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["experiment"] == "blockwise_cls_token"]
    found = {(row["model"], int(row["condition"].split(";")[0].removeprefix("block="))) for row in rows}
    assert found == {(f"DeiT-{size}", block) for size in "TSB" for block in range(1, 13)} and len(rows) == 36
