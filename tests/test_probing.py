"""Linear probes against scikit-learn on the same features, and what a protocol may and may not look at."""

import json
import logging

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from patchwork import loader, models, packed, pixels, probing, readouts, tables, tokens

CPU = torch.device("cpu")
COMPUTE = {"device": "cpu", "dtype": "float32", "channels_last": False}


def parts_of(depth, kinds, width=8, extra=()):
    """The `parts` of a store of tokens: of each block one of each kind, then `extra` (block, token)."""
    named = [(block, kind) for block in range(1, depth + 1) for kind in kinds] + list(extra)
    return [
        {"block": block, "token": kind, "first": n * width, "width": width}
        for n, (block, kind) in enumerate(named)
    ]


def store(path, array, parts, depth, decides, refused=None):
    """Tokens from an array."""
    np.save(path, array.astype(np.float16))
    told = {"parts": parts, "depth": depth, "decides": decides, "digest": "", "refused": refused}
    path.with_suffix(".json").write_text(json.dumps(told))
    return tokens.Tokens(path)


class Dataset:
    """A packed dataset: `images` of each class, in the order of their folders."""

    def __init__(self, images, classes=("a", "b", "c"), name="set"):
        self.classes = list(classes)
        self.labels = np.repeat(np.arange(len(classes)), images)
        self.paths = [f"{name}/{label}/{n}.png" for n, label in enumerate(self.labels)]


def whole(found, data, labels=None):
    labels = torch.from_numpy(data.labels if labels is None else labels)
    return probing.Part(found, data, np.arange(len(data.labels)), labels)


def noisy(labels, width, seed=0, distance=1.0):
    """Features of unequal sizes in which classes overlap."""
    random = np.random.default_rng(seed)
    means = np.random.default_rng(7).normal(size=(labels.max() + 1, width)) * distance
    return ((means[labels] + random.normal(size=(len(labels), width))) * np.logspace(-1, 1, width)).astype(
        np.float16
    )


@pytest.fixture
def three(tmp_path):
    """Parts for training, validation and test, of one block of 12 features and three classes."""
    found = {}
    for seed, (name, images) in enumerate([("train", 60), ("validation", 20), ("test", 30)]):
        data = Dataset(images, name=name)
        array = noisy(data.labels, 12, seed, distance=0.4)
        found[name] = whole(store(tmp_path / f"{name}.npy", array, parts_of(1, ["class"], 12), 1, 0), data)
    return found


def as_numpy(part):
    return part.tokens.features([0], part.rows).astype(np.float64), part.labels.numpy()


def names(found):
    return [(r["blocks"], r["block"], r["patch"]) for r, _ in readouts.of_probes(found)]


# ---- Readouts ----


def test_readouts_of_a_vision_transformer(tmp_path):
    parts = parts_of(6, ["class", "patch"])
    found = store(tmp_path / "t.npy", np.zeros((1, 96)), parts, 6, decides=10)
    listed = {(r["blocks"], r["block"], r["patch"]): places for r, places in readouts.of_probes(found)}
    assert listed == {
        ("last", 6, "none"): [10],
        ("last", 6, "last"): [10, 11],
        **{("block", n, "none"): [2 * n - 2] for n in range(1, 6)},
        **{("block", n, "each"): [2 * n - 2, 2 * n - 1] for n in range(1, 6)},
        ("all", None, "none"): [0, 2, 4, 6, 8, 10],
        ("all", None, "last"): [0, 2, 4, 6, 8, 10, 11],
        ("all", None, "each"): [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11],
        ("last4", None, "none"): [4, 6, 8, 10],
        ("last4", None, "last"): [4, 6, 8, 10, 11],
        ("last4", None, "each"): [4, 6, 8, 10, 5, 7, 9, 11],
    }


@pytest.mark.parametrize("depth, groups", [(1, {"last"}), (4, {"last", "block", "all"})])
def test_nothing_is_read_twice(tmp_path, depth, groups):
    parts = parts_of(depth, ["class", "patch"])
    found = store(tmp_path / "t.npy", np.zeros((1, 16 * depth)), parts, depth, decides=2 * depth - 2)
    listed = [tuple(sorted(places)) for _, places in readouts.of_probes(found)]
    assert len(listed) == len(set(listed))
    assert {blocks for blocks, _, _ in names(found)} == groups


def test_of_a_distilled_network_the_token_that_decides_is_read(tmp_path):
    parts = parts_of(2, ["class", "shape", "patch"])
    found = store(tmp_path / "t.npy", np.zeros((1, 48)), parts, 2, decides=4)
    listed = readouts.of_probes(found)
    assert {parts[place]["token"] for _, places in listed for place in places} == {"shape", "patch"}


def test_stages_of_a_cnn_have_no_patch_means_and_its_head_may_see_something_else(tmp_path):
    found = store(tmp_path / "a.npy", np.zeros((1, 24)), parts_of(3, ["pooled"]), 3, decides=2)
    assert names(found) == [
        ("last", 3, "none"), ("block", 1, "none"), ("block", 2, "none"), ("all", None, "none")
    ]  # fmt: skip
    parts = parts_of(3, ["pooled"], extra=[(4, "pooled")])
    found = store(tmp_path / "b.npy", np.zeros((1, 32)), parts, 3, decides=3)
    listed = {(r["blocks"], r["block"]): places for r, places in readouts.of_probes(found)}
    assert listed[("last", 4)] == [3] and listed[("block", 3)] == [2] and listed[("all", None)] == [0, 1, 3]


def test_of_a_network_that_decides_by_pooled_patches_the_class_tokens_are_read(tmp_path):
    parts = parts_of(2, ["class", "patch"], extra=[(3, "pooled")])
    found = store(tmp_path / "t.npy", np.zeros((1, 40)), parts, 2, decides=4)
    listed = {(r["blocks"], r["block"], r["patch"]): places for r, places in readouts.of_probes(found)}
    assert listed[("last", 3, "none")] == [4] and listed[("last", 3, "last")] == [4, 3]
    assert listed[("block", 2, "none")] == [2] and listed[("all", None, "none")] == [0, 4]


# ---- Logistic regression ----


@pytest.mark.parametrize("penalty", [1, 0.01, 0.0001])
def test_a_fit_is_that_of_scikit_learn(three, penalty):
    train, test = three["train"], three["test"]
    scaler = StandardScaler().fit(as_numpy(train)[0])
    scales = probing.scaling(train, [0], CPU)
    start = torch.zeros(12, 3), torch.zeros(3)
    weight, bias = probing.fit([probing.Batches(train, [0], CPU, scales)], penalty, start)
    other = LogisticRegression(C=1 / (penalty * len(train)), tol=1e-9, max_iter=10_000)
    other.fit(scaler.transform(as_numpy(train)[0]), train.labels.numpy())
    largest = np.abs(other.coef_).max()
    np.testing.assert_allclose(weight.numpy().T, other.coef_, rtol=0, atol=0.01 * largest)
    # A number that is added to all biases changes no decision.
    assert (bias - bias.mean()).numpy() == pytest.approx(other.intercept_ - other.intercept_.mean(), abs=0.01)
    decided = probing.correct(probing.Batches(test, [0], CPU, scales), weight, bias).numpy()
    features, labels = as_numpy(test)
    assert (decided == (other.predict(scaler.transform(features)) == labels)).mean() > 0.98


def test_features_are_standardised_by_the_training_images_alone(three):
    train, test = three["train"], three["test"]
    scales = probing.scaling(train, [0], CPU)
    features = torch.cat([some for some, _ in probing.Batches(test, [0], CPU, scales)]).numpy()
    expected = StandardScaler().fit(as_numpy(train)[0]).transform(as_numpy(test)[0])
    assert features == pytest.approx(expected, abs=1e-4)


def test_a_feature_that_is_always_the_same_stays_0(tmp_path):
    data = Dataset(4)
    array = np.random.default_rng(0).normal(size=(12, 3))
    array[:, 1] = 0.1  # whose mean is not exact
    train = whole(store(tmp_path / "t.npy", array, parts_of(1, ["class"], 3), 1, 0), data)
    array[:, 1] = 5
    test = whole(store(tmp_path / "u.npy", array, parts_of(1, ["class"], 3), 1, 0), data)
    scales = probing.scaling(train, [0], CPU)
    ((features, _),) = probing.Batches(test, [0], CPU, scales)
    assert (features[:, 1] == 0).all() and features[:, 0].std(correction=0) == pytest.approx(1, abs=1e-5)


def test_neither_batches_nor_the_disk_change_a_fit(three, monkeypatch):
    def fitted():
        scales = probing.scaling(three["train"], [0], CPU)
        sources = [probing.Batches(three[name], [0], CPU, scales) for name in ("train", "validation")]
        start = torch.zeros(12, 3), torch.zeros(3)
        return probing.fit(sources, 0.01, start)[0], [source.kept is not None for source in sources]

    once, kept = fitted()
    monkeypatch.setattr(probing, "BATCH_IMAGES", 7)
    monkeypatch.setattr(probing, "KEPT_BYTES", 0)
    read, not_kept = fitted()
    assert kept == [True, True] and not_kept == [False, False]
    assert read.numpy() == pytest.approx(once.numpy(), abs=1e-3)


def test_a_minimum_that_is_not_reached_is_told(three, monkeypatch, caplog):
    train = [probing.Batches(three["train"], [0], CPU, probing.scaling(three["train"], [0], CPU))]
    start = torch.zeros(12, 3), torch.zeros(3)
    with caplog.at_level(logging.WARNING):
        probing.fit(train, 0.01, start)
        assert not caplog.records
        monkeypatch.setattr(probing, "MOST_PASSES", 2)
        probing.fit(train, 0.01, start)
    assert "penalty 0.01: not at the minimum after 2 passes" in caplog.text


# ---- The validated protocol ----


def test_the_protocol_is_that_of_scikit_learn_by_hand(three):
    scales = probing.scaling(three["train"], [0], CPU)
    told = probing.validated(three, [0], scales, 3, CPU)
    scaler = StandardScaler().fit(as_numpy(three["train"])[0])
    (x, y), (vx, vy), (tx, ty) = (
        (scaler.transform(as_numpy(three[name])[0]), as_numpy(three[name])[1]) for name in three
    )

    def learnt(penalty, x, y):
        return LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=10_000).fit(x, y)

    reached = {penalty: learnt(penalty, x, y).score(vx, vy) for penalty in probing.PENALTIES}
    assert told["validation_top1"] == pytest.approx(max(reached.values()))
    assert told["penalty"] == max(p for p in reached if reached[p] == max(reached.values()))
    last = learnt(told["penalty"], np.concatenate([x, vx]), np.concatenate([y, vy]))
    assert told["correct"].numpy().tolist() == (last.predict(tx) == ty).tolist()
    assert told["train_images"] == 240


def test_test_images_choose_nothing(three):
    scales = probing.scaling(three["train"], [0], CPU)
    told = probing.validated(three, [0], scales, 3, CPU)
    test = three["test"]
    wrong = probing.Part(test.tokens, test.data, test.rows, (test.labels + 1) % 3)
    other = probing.validated(three | {"test": wrong}, [0], scales, 3, CPU)
    assert [told[key] for key in ("penalty", "validation_top1")] == [
        other[key] for key in ("penalty", "validation_top1")
    ]
    assert not (told["correct"] & other["correct"]).any()


def test_a_planted_signal_is_found_in_its_block_alone(tmp_path):
    def set_of(name, images, seed):
        data = Dataset(images, [str(n) for n in range(5)], name)
        array = np.random.default_rng(seed).normal(size=(len(data.labels), 3 * 16))
        array[:, 16:32] += 2 * np.eye(5, 16)[data.labels]
        return store(tmp_path / f"{name}.npy", array, parts_of(3, ["class"], 16), 3, 2), data

    sets = {"train": set_of("train", 100, 0), "test": set_of("test", 100, 1)}
    net = models.Model(timm.create_model("test_vit"))
    rows = [*probing.results(net, sets, "planted", {"validation": 0.2}, COMPUTE)]
    reached = {(r["protocol"], r["blocks"], r["block"]): probing.top1(r["correct"]) for r in rows}
    # What is known of the signal itself: the largest of the five features that carry it.
    found, data = sets["test"]
    best = (found.array[:, 16:21].argmax(1) == data.labels).mean()
    assert reached["validated", "block", 2] > best - 0.04 and best > 0.75
    assert reached["validated", "all", None] > best - 0.1
    assert abs(reached["validated", "block", 1] - 0.2) < 0.08 > abs(reached["validated", "last", 3] - 0.2)
    assert {row["train_images"] for row in rows} == {500}


# ---- The authors' protocols ----


def test_the_authors_protocol_is_a_loop_by_hand(three, monkeypatch):
    monkeypatch.setattr(probing, "TRAINED_IMAGES", 32)
    learning, test = [three["train"], three["validation"]], three["test"]
    x = torch.cat([torch.from_numpy(as_numpy(part)[0]).float() for part in learning])
    y = torch.cat([part.labels for part in learning])
    tx = torch.from_numpy(as_numpy(test)[0]).float()
    batches = probing.Batches(test, [0], CPU)
    told = probing.as_authors(x.__getitem__, y, batches, 12, 3, "birds", CPU)

    loader.seed("birds", "authors")
    layer = torch.nn.Linear(12, 3)
    groups = [{"params": [layer.weight], "weight_decay": 0.05}, {"params": [layer.bias], "weight_decay": 0}]
    optimizer, reached = torch.optim.AdamW(groups, lr=5e-4), []
    for _ in range(10):
        order = torch.randperm(240)
        for first in range(0, 224, 32):  # 16 images are left out
            rows = order[first : first + 32]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[rows]), y[rows]).backward()
            optimizer.step()
        reached.append((layer(tx).argmax(1) == test.labels).float().mean().item())
    assert told["last_top1"] == pytest.approx(reached[-1])
    assert probing.top1(told["correct"]) == pytest.approx(max(reached)) and len(set(reached)) > 1


def test_the_authors_take_features_as_they_are_and_the_best_epoch(three):
    batches = probing.Batches(three["test"], [0], CPU)
    ((features, _),) = batches
    assert torch.equal(features, torch.from_numpy(as_numpy(three["test"])[0]).float())
    x, y = (torch.from_numpy(each) for each in as_numpy(three["train"]))
    told = probing.as_authors(x.float().__getitem__, y, batches, 12, 3, "birds", CPU)
    assert probing.top1(told["correct"]) >= told["last_top1"]


def test_rows_of_several_parts_keep_their_order(three):
    learning, rows = [three["train"], three["validation"]], np.array([200, 3, 181, 179, 180, 0])
    x = np.concatenate([as_numpy(part)[0] for part in learning])
    found = probing.gathered(learning, lambda part, chosen: part.features(chosen, [0]), rows)
    assert found.numpy() == pytest.approx(x[rows])


@pytest.fixture
def pictures(tmp_path):
    """Packed images of three classes, of their own colour and noise, one of them unreadable."""
    random = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / f"images/{label}").mkdir(parents=True)
        for n in range(9):
            values = random.integers(0, 128, (32, 32, 3)) + 127 * np.eye(3, dtype=int)[label]
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / f"images/{label}/{n}.png")
    (tmp_path / "images/1/4.png").write_bytes(b"no picture")
    view = {"resize": 32, "crop": 32, "interpolation": "bilinear"}
    arrays = tmp_path / "images.npy", tmp_path / "images.parquet"
    pixels.pack(tmp_path / "images", *arrays, view, skip=True)
    return packed.Packed(*arrays)


def resnet():
    torch.manual_seed(0)
    net = models.Model(timm.create_model("test_resnet").eval(), (32, 32))
    net.origin = {"timm": "test_resnet"}
    return net


@torch.inference_mode()
def test_batch_statistics_are_those_of_a_network_in_training(pictures):
    model, rows = resnet(), [np.array([3, 25, 0, 11]), np.arange(12)]
    assert probing.normalises_batches(model)
    before, image = {n: value.clone() for n, value in model.state_dict().items()}, torch.rand(1, 3, 32, 32)
    answer = model(image)
    part = probing.Part(None, pictures, np.arange(26), torch.from_numpy(pictures.labels))
    found = probing.features_by_batch(model, [part], rows, COMPUTE)
    assert torch.equal(answer, model(image))
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    net = resnet().train()
    values = torch.from_numpy(np.load(pictures.array_path)).float() / 255
    expected = torch.cat([net.features(values[some]) for some in rows])
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert not torch.allclose(found[4:], model.features(values[:12]), atol=0.01)


def test_batch_statistics_hide_what_all_images_of_a_batch_share(pictures):
    """Images of one class in a batch lose the colour that tells their class."""
    part = probing.Part(None, pictures, np.arange(26), torch.from_numpy(pictures.labels))
    sorted_rows = [np.flatnonzero(pictures.labels == label) for label in range(3)]
    alone = probing.features_by_batch(resnet(), [part], sorted_rows, COMPUTE)
    together = probing.features_by_batch(resnet(), [part], [np.arange(26)], COMPUTE)

    def spread(features):
        means = torch.stack([features[rows].mean(0) for rows in sorted_rows])
        return (means.std(0).mean() / features.std(0).mean()).item()

    assert spread(alone) < 0.5 * spread(together)


def test_batch_statistics_that_are_no_numbers_name_an_image(pictures):
    model = resnet()
    next(model.net.parameters()).data.fill_(float("nan"))
    part = probing.Part(None, pictures, np.arange(26), torch.from_numpy(pictures.labels))
    with pytest.raises(ValueError, match=r"test_resnet gives NaN .* 2 images of which 0/3\.png is the first"):
        probing.features_by_batch(model, [part], [np.array([3, 5])], COMPUTE)


def test_all_protocols_in_a_table(pictures, tmp_path):
    """Of a CNN with batch normalisation, with corrupt images left out, split by shares."""
    array = noisy(pictures.labels, 16)
    sets = {"data": (store(tmp_path / "t.npy", array, parts_of(2, ["pooled"]), 2, 1), pictures)}
    shares = {"test": 0.3, "validation": 0.2}
    probing.probe(resnet(), sets, "colours", shares, COMPUTE, tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.equals(tables.PROBES) and table.schema.metadata[b"refused"] == b""
    rows = table.to_pylist()
    assert [(r["protocol"], r["blocks"], r["block"], r["width"]) for r in rows] == [
        ("validated", "last", 2, 8),
        ("authors", "last", 2, 8),
        ("validated", "block", 1, 8),
        ("validated", "all", None, 16),
        ("authors", "all", None, 16),
        ("authors, batch statistics", "last", 2, resnet().net.num_features),
    ]
    for row in rows:
        assert row["parameters"] == (row["width"] + 1) * 3 and row["classes"] == 3
        assert row["images"] == len(row["correct"]) == 8 and row["train_images"] == 18
        assert row["top1"] == pytest.approx(np.mean(row["correct"]))
        chosen = row["protocol"] == "validated"
        assert (row["penalty"] is not None) == (row["validation_top1"] is not None) == chosen
        assert (row["last_top1"] is None) == chosen
        assert row["last_top1"] is None or row["last_top1"] <= row["top1"]
    again = [*probing.results(resnet(), sets, "colours", shares, COMPUTE)]
    assert [row["correct"].tolist() for row in again] == [row["correct"] for row in rows]


def test_where_there_are_no_tokens_the_table_is_empty_and_tells_why(tmp_path):
    found = store(tmp_path / "t.npy", np.zeros((3, 0)), [], 0, None, refused="no features")
    probing.probe(resnet(), {"data": (found, Dataset(1))}, "birds", {"test": 0.5}, COMPUTE, tmp_path / "p")
    table = pq.read_table(tmp_path / "p")
    assert not len(table) and table.schema.metadata[b"refused"] == b"no features"


# ---- What is refused ----


def sets_of(tmp_path, **classes):
    """Nine images of each class, by part, and tokens of zeros."""
    found = {}
    for part, own in classes.items():
        data = Dataset(9, own, part)
        array = np.zeros((len(data.labels), 8))
        found[part] = store(tmp_path / f"{part}.npy", array, parts_of(1, ["class"]), 1, 0), data
    return found


def test_classes_are_known_by_their_names(tmp_path):
    """Numbers of classes are a dataset's own."""
    sets = sets_of(tmp_path, train=["owl", "wren"], test=["wren", "owl"])
    parts, classes = probing.divide(sets, "birds", {"validation": 0.2})
    assert classes == ["owl", "wren"]
    assert parts["test"].labels.tolist() == [1] * 9 + [0] * 9
    assert sorted(parts["validation"].labels.tolist()) == [0, 0, 1, 1]
    assert not set(parts["train"].rows) & set(parts["validation"].rows)


@pytest.mark.parametrize(
    "test, validation, problem",
    [
        (["owl"], ["owl", "wren"], "birds: class 'wren' has images in train and none in test"),
        (["owl", "wren"], ["owl", "rook", "wren"], "class 'rook' has images in validation and none in train"),
    ],
)
def test_parts_with_other_classes_are_refused(tmp_path, test, validation, problem):
    sets = sets_of(tmp_path, train=["owl", "wren"], test=test, validation=validation)
    with pytest.raises(ValueError, match=problem):
        probing.divide(sets, "birds", {})


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="birds has one class, owl"):
        probing.divide(sets_of(tmp_path, data=["owl"]), "birds", {"test": 0.3, "validation": 0.2})


def test_features_that_are_no_numbers_name_their_images(tmp_path):
    data, array = Dataset(4), np.zeros((12, 8))
    array[5, 3], array[7, 0] = np.nan, np.inf
    part = whole(store(tmp_path / "t.npy", array, parts_of(1, ["class"]), 1, 0), data)
    with pytest.raises(ValueError, match=r"features of set/1/5\.png, set/1/7\.png are NaN or infinite"):
        probing.scaling(part, [0], CPU)
