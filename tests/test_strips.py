"""The evaluation loop against a slow one; what is computed again, and what is not.

The slow loop sees one image at a time, with masks, shuffles, normalisation and ranks of its own.
"""

import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from torch import nn

from conftest import ROOT
from patchwork import models, packed, pixels, strips
from patchwork.catalogue import cells

CLASSES = ["ant", "bee", "cat", "dog", "eel"]
OPTIONS = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 5}
ENTRY = {"timm": "vit_tiny_patch16_224", "options": OPTIONS}
COMPUTE = {"dtype": "float32", "batch_images": 4, "device": "cpu", "channels_last": False}
DROP = {"perturbation": "random_drop", "variant": "4x4"}
SHUFFLE = {"perturbation": "shuffle_grid", "variant": "plain"}
IMAGES = 10
CELLS = cells({"noise": 256}, [0, 0.3, 0.9], [0, 7])


def pack(folder, images=IMAGES, size=32, seed=0):
    """Packed images of random colours; every class has some."""
    folder.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (images, 3, 4, 4), np.uint8)
    array = array.repeat(size // 4, 2).repeat(size // 4, 3)
    np.save(folder / "set.npy", array)
    rows = [
        {
            "image": i,
            "label": i * 3 % 5,
            "class_name": CLASSES[i * 3 % 5],
            "path": f"{i}.png",
            "problem": None,
        }
        for i in range(images)
    ]
    digest = hashlib.sha256(array).hexdigest()
    pixels.write_index(folder / "set.parquet", rows, {"classes": CLASSES}, digest)
    return packed.Packed(folder / "set.npy", folder / "set.parquet")


@pytest.fixture
def data(tmp_path):
    return pack(tmp_path / "images")


def network(seed=0, **options):
    """A network with large random weights whose decisions are clear and differ."""
    torch.manual_seed(seed)
    net = models.create(ENTRY | {"options": OPTIONS | options}).eval()
    for name, value in net.named_parameters():
        same = name == "cls_token" or name.endswith("bias")  # what would be the same for every image
        value.data = torch.randn_like(value) * (0 if same else 0.5)
    return net


def build(folder, net=None, **options):
    entry = ENTRY | {"options": OPTIONS | options}
    models.save(folder / "w.safetensors", (net or network(**options)).state_dict())
    return models.build(entry, folder / "w.safetensors", CLASSES)


class Counter:
    """Counts the images that pass through a model, and fails or lies on demand."""

    def __init__(self, model, most=None, end=None):
        self.images, self.largest = 0, 0
        self.most, self.end = most, end
        model.net.register_forward_pre_hook(self.count)

    def count(self, _, inputs):
        size = len(inputs[0])
        if self.most and size > self.most:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            )
        if self.end is not None and self.images + size > self.end:
            raise KeyboardInterrupt
        self.images += size
        self.largest = max(self.largest, size)


def run(
    tmp_path,
    data,
    asked=CELLS,
    model=None,
    code="c",
    dataset="set",
    view=DROP,
    name="strip",
    most=None,
    end=None,
    **compute,
):
    """(predictions, images that passed through the network) of a strip; its cells are kept in one store."""
    model = model or build(tmp_path)
    counter = Counter(model, most, end)
    strip = strips.Strip(model, data, dataset, view["perturbation"], view["variant"], COMPUTE | compute)
    path = tmp_path / f"{name}.parquet"
    try:
        strips.evaluate(strip, asked, tmp_path / "store", path, code)
    except KeyboardInterrupt:
        return None, counter.images
    return pq.read_table(path), counter.images


def same_but_for_rounding(one, other):
    for column in ("level", "seed", "image", "label", "pred", "rank", "lost"):
        assert one[column].equals(other[column]), column
    for column in ("prob", "confidence"):
        assert np.allclose(one[column].to_numpy(), other[column].to_numpy(), atol=2e-3), column
    return True


# ---- against a slow loop ----


def numbers(seed, dataset, path, perturbation, count):
    """SplitMix64 with Python's integers, started from the hash of a name."""
    name = f"{seed}\0{dataset}\0{path}\0{perturbation}".encode()
    state, found, mask = (
        int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little"),
        [],
        2**64 - 1,
    )
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        found.append(((bits ^ (bits >> 31)) >> 11) / 2**53)
    return found


def tile(image, position, side):
    row, column = divmod(position, 32 // side)
    return image[:, row * side : (row + 1) * side, column * side : (column + 1) * side]


def dropped(image, path, level, seed):
    seen, drawn = image.copy(), numbers(seed, "set", path, "random_drop", 16)
    for position in sorted(range(16), key=drawn.__getitem__)[: math.floor(level * 16)]:
        tile(seen, position, 8)[:] = 0
    return seen, math.floor(level * 16) / 16


def shuffled(image, path, level, seed):
    seen, drawn, side = (
        image.copy(),
        numbers(seed, "set", path, "shuffle_grid", level),
        32 // math.isqrt(level),
    )
    for position, source in enumerate(sorted(range(level), key=drawn.__getitem__)):
        tile(seen, position, side)[:] = tile(image, source, side)
    return seen, 0


@pytest.mark.parametrize(
    ("view", "perturb", "levels"), [(DROP, dropped, [0, 0.3, 0.9]), (SHUFFLE, shuffled, [1, 4, 64])]
)
@torch.no_grad()
def test_predictions_are_those_of_a_slow_loop(tmp_path, data, view, perturb, levels):
    asked = cells({"noise": 256}, levels, [0, 7])
    rows = run(tmp_path, data, asked, view=view)[0].to_pylist()
    net, array, slow = network(), np.load(tmp_path / "images/set.npy"), []
    for level, seed in asked:
        for image in range(IMAGES):
            seen, lost = perturb(array[image], f"{image}.png", level, seed)
            logits = (
                net(torch.from_numpy((seen / np.float32(255) - 0.5) / np.float32(0.5))[None])[0]
                .double()
                .numpy()
            )
            chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            order, label = sorted(range(5), key=lambda c, found=logits: -found[c]), image * 3 % 5
            slow.append(
                [level, seed, image, label, order[0], order.index(label), chances[label], chances.max(), lost]
            )
    names = ["level", "seed", "image", "label", "pred", "rank", "prob", "confidence", "lost"]
    assert len(rows) == len(slow)
    for row, expected in zip(rows, slow, strict=True):
        assert [row[name] for name in names[1:6]] == expected[1:6]
        assert [row[name] for name in names] == pytest.approx(expected, abs=1e-3)
    assert len({row["pred"] for row in rows}) > 2 and len({row["rank"] for row in rows}) > 2


class Given(nn.Module):
    """A network that says what it is told to: its logits are a table, by image."""

    pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.0,) * 3, "std": (1.0,) * 3}  # noqa: RUF012

    def __init__(self, logits):
        super().__init__()
        self.logits, self.at = torch.as_tensor(logits), 0

    def forward(self, images):
        self.at += len(images)
        return self.logits[self.at - len(images) : self.at]


def given(logits):
    model = models.Model(Given(logits))
    model.origin = {"timm": "given"}
    return model


def test_rank_and_prediction_agree_when_logits_are_tied(tmp_path, data):
    logits = np.random.default_rng(0).integers(0, 3, (IMAGES, 5)).astype(np.float32)
    logits[0] = 0
    rows = run(tmp_path, data, [(0, 0)], given(logits))[0].to_pylist()
    for row, found in zip(rows, logits, strict=True):
        order = sorted(range(5), key=lambda c, found=found: (-found[c], c))  # ties go to the lower class
        assert (row["pred"], row["rank"]) == (order[0], order.index(row["label"]))
        assert row["pred"] == found.argmax() and (row["rank"] == 0) == (row["pred"] == row["label"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_logit_that_is_no_number_names_model_image_and_level(tmp_path, data, bad):
    logits = torch.zeros(2 * IMAGES, 5)
    logits[4 + 4 + 4 + 2, 3] = bad  # batches of 4: the second cell of the second batch, its third image
    with pytest.raises(
        ValueError,
        match=r"^given gives NaN or infinite logits for image 6\.png of set at level 0\.3 of random_drop",
    ):
        run(tmp_path, data, [(0, 0), (0.3, 0)], given(logits))
    assert not (tmp_path / "strip.parquet").exists() and not [*(tmp_path / "store").rglob("*.parquet")]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_does_not_matter(tmp_path, data, batch):
    reference = run(tmp_path, data)[0]
    found, passed = run(tmp_path, data, code="again", batch_images=batch)
    assert passed == len(CELLS) * IMAGES and same_but_for_rounding(found, reference)


def test_rows_come_cell_by_cell_with_a_row_group_each(tmp_path, data):
    table = run(tmp_path, data)[0]
    assert table["image"].to_pylist() == [*range(IMAGES)] * len(CELLS)
    found = list(dict.fromkeys(zip(table["level"].to_pylist(), table["seed"].to_pylist(), strict=True)))
    assert found == [(pytest.approx(level), seed) for level, seed in CELLS]
    assert pq.ParquetFile(tmp_path / "strip.parquet").num_row_groups == len(CELLS)


# ---- what is computed again ----


def test_only_cells_that_are_new_are_computed(tmp_path, data):
    first, passed = run(tmp_path, data)
    assert passed == len(CELLS) * IMAGES
    assert run(tmp_path, data) == (first, 0)
    more = cells({"noise": 256}, [0, 0.3, 0.6, 0.9], [0, 7])  # one level more, under two seeds
    assert run(tmp_path, data, more)[1] == 2 * IMAGES
    more = cells({"noise": 256}, [0, 0.3, 0.6, 0.9], [0, 7, 2])  # one seed more, at three levels
    table, passed = run(tmp_path, data, more)
    assert passed == 3 * IMAGES and len(table) == len(more) * IMAGES
    fewer, passed = run(tmp_path, data, CELLS)
    assert passed == 0 and fewer.equals(first)
    assert same_but_for_rounding(run(tmp_path, data, more, code="from scratch")[0], table)


CHANGES = {
    "weights": lambda folder, data: {"model": build(folder, network(seed=1))},
    "one weight": lambda folder, data: {"model": build(folder, nudged())},
    "timm options": lambda folder, data: {"model": build(folder, network(), pos_drop_rate=0.5)},
    "images": lambda folder, data: {"data": pack(folder / "others", seed=1)},
    "the name of the dataset": lambda folder, data: {"dataset": "sets"},
    "code": lambda folder, data: {"code": "d"},
    "variant": lambda folder, data: {"view": DROP | {"variant": "8x8"}},
    "dtype": lambda folder, data: {"dtype": "bfloat16"},
}


def nudged():
    net = network()
    net.head.bias.data[2] = net.head.bias.data[2].nextafter(torch.tensor(9.0))
    return net


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_predictions_decides_about_reuse(tmp_path, data, change):
    run(tmp_path, data)
    changed = {"data": data} | CHANGES[change](tmp_path, data)
    assert run(tmp_path, **changed)[1] == len(CELLS) * IMAGES
    assert run(tmp_path, data)[1] == 0  # and what was kept is still there


def test_what_does_not_decide_predictions_is_reused(tmp_path, data):
    first, _ = run(tmp_path, data)
    table, passed = run(tmp_path, data, batch_images=3, name="elsewhere/strip")
    assert passed == 0 and table.equals(first)
    assert run(tmp_path, data, [(0.0, 0), *CELLS[1:]])[1] == 0  # 0 and 0.0 are one level


# ---- interruptions ----


@pytest.mark.parametrize("end", [3, 4, 5, 9])
def test_an_interrupted_strip_goes_on_with_its_parts(tmp_path, data, monkeypatch, end):
    """Every batch is a part; the third one, of 2 images, ends the strip."""
    monkeypatch.setattr(strips, "PART_SECONDS", 0)
    (tmp_path / "uncut").mkdir()
    run(tmp_path / "uncut", data)
    whole, uncut = len(CELLS) * IMAGES, tmp_path / "uncut"
    _, passed = run(tmp_path, data, end=len(CELLS) * end)
    assert not (tmp_path / "strip.parquet").exists() and passed <= len(CELLS) * end
    kept = end // 4 * 4 * len(CELLS)  # whole batches
    assert run(tmp_path, data)[1] == whole - kept
    assert (tmp_path / "strip.parquet").read_bytes() == (uncut / "strip.parquet").read_bytes()
    stored = [
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")}
        for f in (tmp_path / "store", uncut / "store")
    ]
    assert stored[0] == stored[1] and len(stored[0]) == len(CELLS)  # the parts are gone


def test_parts_of_other_cells_are_not_taken(tmp_path, data, monkeypatch):
    monkeypatch.setattr(strips, "PART_SECONDS", 0)
    reference = run(tmp_path, data, code="reference")[0]
    run(tmp_path, data, CELLS[:3], end=3 * 4)
    table, passed = run(tmp_path, data)
    assert passed == len(CELLS) * IMAGES and table.equals(reference)


# ---- shards ----


def run_shard(tmp_path, data, shard, shards, asked=CELLS, end=None):
    """Images that passed through the network for one of the shards of the strip that `run` writes."""
    model = build(tmp_path)
    counter = Counter(model, end=end)
    strip = strips.Strip(model, data, "set", "random_drop", "4x4", COMPUTE)
    path = tmp_path / "strip.parquet"
    try:
        strips.evaluate_shard(strip, asked, tmp_path / "store", path, "c", shard, shards)
    except KeyboardInterrupt:
        return counter.images
    assert strip.passes == counter.images and (strip.seconds > 0) == (strip.passes > 0)
    return counter.images


def bytes_of(folder):
    """The strip and all that is in the store."""
    found = [folder / "strip.parquet", *(folder / "store").rglob("*.*")]
    return {path.relative_to(folder): path.read_bytes() for path in found}


@pytest.fixture
def uncut(tmp_path, data):
    """What is left by a strip that one job has computed."""
    (tmp_path / "uncut").mkdir()
    run(tmp_path / "uncut", data)
    return bytes_of(tmp_path / "uncut")


@pytest.mark.parametrize(("images", "batch"), [(10, 4), (50_000, 64), (7, 16), (12, 4)])
@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_shards_are_whole_batches_and_have_every_image_once(images, batch, shards):
    shares = [strips.share(images, batch, shard, shards) for shard in range(shards)]
    assert [i for first, last in shares for i in range(first, last)] == [*range(images)]
    assert all(first % batch == 0 or first == images for first, _ in shares)
    sizes = [last - first for first, last in shares]
    assert max(sizes) - min(sizes) < 2 * batch


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_strip_is_the_same_for_any_number_of_shards(tmp_path, data, uncut, shards):
    computed = [run_shard(tmp_path, data, shard, shards) for shard in reversed(range(shards))]
    assert sum(computed) == len(CELLS) * IMAGES and max(computed) <= -(-3 // shards) * 4 * len(CELLS)
    assert run(tmp_path, data)[1] == 0
    assert bytes_of(tmp_path) == uncut


def test_a_shard_that_was_killed_goes_on_and_what_it_lacks_the_strip_computes(
    tmp_path, data, uncut, monkeypatch
):
    monkeypatch.setattr(strips, "PART_SECONDS", 0)  # every batch is a part
    batch = 4 * len(CELLS)
    assert run_shard(tmp_path, data, 1, 2, end=batch) == batch
    assert run_shard(tmp_path, data, 1, 2) == 2 * len(CELLS)  # images 8 and 9
    assert run(tmp_path, data)[1] == batch  # the other shard
    assert bytes_of(tmp_path) == uncut


@pytest.mark.parametrize("end", [1, 2])
def test_parts_of_another_split_are_taken_wherever_they_begin(tmp_path, data, uncut, monkeypatch, end):
    batch = 4 * len(CELLS)
    monkeypatch.setattr(strips, "PART_IMAGES", 8)
    assert run_shard(tmp_path, data, 0, 1, end=end * batch) == end * batch  # ends within images 0 to 8
    assert [*(tmp_path / "store").rglob("part-*")] == [] or end == 2
    computed = [run_shard(tmp_path, data, shard, 3) for shard in (2, 1, 0)]
    kept = 2 if end == 2 else 0  # batches, in one part that is longer than the shards of it
    assert sum(computed) == len(CELLS) * IMAGES - kept * batch
    assert run(tmp_path, data)[1] == 0
    assert bytes_of(tmp_path) == uncut


def test_parts_with_more_cells_serve_and_those_with_fewer_do_not(tmp_path, data):
    more = cells({"noise": 256}, [0, 0.3, 0.6, 0.9], [0, 7])
    reference, _ = run(tmp_path, data, code="reference")
    run_shard(tmp_path, data, 0, 2, asked=more)  # one batch of four images
    run_shard(tmp_path, data, 1, 2, asked=CELLS[:3])
    table, passed = run(tmp_path, data)
    assert passed == 6 * len(CELLS) and table.equals(reference)


# ---- memory and number formats ----


def test_batches_are_halved_when_memory_ends(tmp_path, data):
    reference = run(tmp_path, data)[0]
    model = build(tmp_path)
    table, passed = run(tmp_path, data, model=model, code="small", batch_images=64, most=3)
    assert passed == len(CELLS) * IMAGES and same_but_for_rounding(table, reference)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(tmp_path, data, code="none", most=0.5)


def test_other_errors_are_not_taken_for_the_end_of_memory(tmp_path, data):
    model, sizes = build(tmp_path), []

    def fail(_, inputs):
        sizes.append(len(inputs[0]))
        raise RuntimeError("shapes do not match")

    model.net.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tmp_path, data, model=model)
    assert sizes == [4]


def test_half_precision_is_near_full_precision(tmp_path, data):
    full, half = run(tmp_path, data)[0], run(tmp_path, data, dtype="bfloat16")[0]
    difference = np.abs(full["confidence"].to_numpy().astype(float) - half["confidence"].to_numpy())
    assert 0 < difference.max() < 0.2  # it computes in another format, and not something else
    assert np.mean(full["pred"].to_numpy() == half["pred"].to_numpy()) > 0.9
    assert full["lost"].equals(half["lost"])


def test_a_cnn_in_either_layout_predicts_the_same(tmp_path, data):
    torch.manual_seed(0)
    entry = {
        "timm": "resnet10t",
        "size": 32,
        "options": {"channels": [8] * 4, "stem_width": 4, "num_classes": 5},
    }
    net = timm.create_model("resnet10t", **entry["options"]).eval()
    net.fc.weight.data *= 30
    models.save(tmp_path / "cnn.safetensors", net.state_dict())
    found = []
    for layout in (True, False):
        model = models.place(
            models.build(entry, tmp_path / "cnn.safetensors", CLASSES), COMPUTE | {"channels_last": layout}
        )
        table, passed = run(tmp_path, data, model=model)
        assert passed == len(CELLS) * IMAGES
        found.append(table)
    assert same_but_for_rounding(*found)


class Average(nn.Module):
    """A network that costs nothing."""

    pretrained_cfg = Given.pretrained_cfg

    def forward(self, images):
        return images.mean((2, 3)).repeat(1, 2)[:, :5]


def peaks(folder):
    """Peak memory (MB) of this process after few and after many images."""
    for images in (64, 4096):
        data = packed.Packed(folder / f"{images}/set.npy", folder / f"{images}/set.parquet")
        model = models.Model(Average(), (64, 64))
        model.origin = {"timm": "average"}
        strip = strips.Strip(model, data, "set", "random_drop", "4x4", COMPUTE | {"batch_images": 16})
        strips.evaluate(strip, [(0, 0), (0.5, 0)], folder / "store", folder / "strip.parquet", str(images))
        # getrusage would also tell of the process that this one was forked from
        print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    for images in (64, 4096):
        pack(tmp_path / str(images), images, 64)
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import test_strips; from pathlib import Path\n"
        "test_strips.peaks(Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", script, ROOT / "scripts", ROOT / "tests", tmp_path]
    few, many = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert many - few < 4096 * 3 * 64 * 64 / 2**20 / 2  # half of what the images alone take


# ---- clearing ----


def test_clearing_removes_only_what_no_strip_uses(tmp_path, data):
    for code in ("a", "b", "c"):
        run(tmp_path, data, code=code, name=code)
    assert len([*(tmp_path / "store").iterdir()]) == 3
    strips.clear(tmp_path / "store", [tmp_path / "a.parquet", tmp_path / "c.parquet"])
    assert len([*(tmp_path / "store").iterdir()]) == 2
    assert [run(tmp_path, data, code=code, name=code)[1] for code in "abc"] == [0, len(CELLS) * IMAGES, 0]


def test_a_damaged_cell_is_computed_again(tmp_path, data):
    first, _ = run(tmp_path, data)
    cell = sorted((tmp_path / "store").rglob("level=0.9*.parquet"))[0]
    cell.write_bytes(cell.read_bytes()[:100])
    again, passed = run(tmp_path, data)
    assert again.equals(first) and passed == IMAGES
