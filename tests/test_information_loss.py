"""Information loss against numpy, features against passes by hand, and the marts of made-up correlations."""

import csv
import runpy
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from conftest import COLUMNS, ROOT
from patchwork import measuring, models, theme, views, warehouse
from patchwork.measures import information_loss
from test_corruption_errors import Corrupted
from test_measuring import SIDE, VIT, Dataset, model, subject

KINDS = ("image", "other", "dimension", "cka", "debiased")
SETTINGS, SEEDS = {"grid": "4x4"}, (0, 1)
CELLS = [(level, seed) for level in information_loss.LEVELS for seed in SEEDS]
BEIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
SMALL = {  # of every kind of network that the measure is for
    "vit_tiny_patch16_224": VIT,
    "vit_small_patch14_reg4_dinov2": VIT,
    "deit_tiny_distilled_patch16_224": VIT,
    "beit_base_patch16_224": BEIT,
    "eva02_tiny_patch14_224": BEIT,
    "cait_xxs24_224": BEIT,
    "tnt_s_legacy_patch16_224": {
        "img_size": SIDE,
        "embed_dim": 32,
        "inner_dim": 8,
        "depth": 2,
        "num_heads_outer": 2,
    }
    | {"patch_size": 8, "num_heads_inner": 2},
    "swin_tiny_patch4_window7_224": {"img_size": SIDE, "window_size": 4, "embed_dim": 24, "depths": (1, 1)}
    | {"num_heads": (2, 2)},
    "pit_ti_distilled_224": {},
    "levit_128s": {},
    "test_resnet": {},
    "test_efficientnet": {},
    "vgg11_bn": {},
    "regnety_002": {},
    "densenet121": {"growth_rate": 8, "block_config": (2, 2)},
}


def small(name):
    options = SMALL[name]
    built = model(name, **options)
    if not options:  # its own size
        built.size = tuple(built.net.pretrained_cfg["input_size"][-2:])
    return built


def measured(looked_at, data=None, batch_images=4, seeds=SEEDS):
    """What the measure finds: {(kind, level, seed): values in the order of their index}."""
    found, examples = information_loss.measure(
        subject(looked_at, data or Dataset(12), batch_images, SETTINGS, seeds)
    )
    assert examples == {} and list(found) == list(information_loss.COLUMNS)
    cells = {}
    for kind, level, seed, _, value in zip(*found.values(), strict=True):
        cells.setdefault((str(kind), level, seed), []).append(value)
    return {key: np.array(values) for key, values in cells.items()}


@torch.inference_mode()
def dumped(looked_at, data, level, seed):
    """Features of all images at once, whole and dropped: float64 [N, D] each."""
    view = views.View(data, "set", "random_drop", "4x4")
    batch = view.batch(0, len(data.paths))
    seen = (batch.images, view.perturb(batch, level, seed)[0])
    return [looked_at.features(images).double().numpy() for images in seen]


def numpy_pearson(x, y):
    """The correlation of each row, NaN for a constant one."""
    with np.errstate(invalid="ignore"):
        return [np.corrcoef(one, other)[0, 1] for one, other in zip(x, y, strict=True)]


def numpy_cka(x, y):
    """Linear CKA from the Gram matrices, as Kornblith et al. define it by HSIC."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, m = (centring @ features @ features.T @ centring for features in (x, y))
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def streamed(x, y, batch_images=5):
    """What the sums find of features [N, D] each: (correlations of dimensions, CKA)."""
    found = summed(x, y, batch_images)
    return found["dimension"][0], found["cka"].item()


def of_each(x, y):
    """The correlations of images, as they are told when they are added."""
    return information_loss.Sums(x, y).add(x, y)


def summed(x, y, batch_images=5):
    """The same, and all else: {kind: values [1, count]}."""
    x, y = torch.from_numpy(x), torch.from_numpy(y)[None]
    sums = information_loss.Sums(x[:1], y[:, :1])
    for first in range(0, len(x), batch_images):
        sums.add(x[first : first + batch_images], y[:, first : first + batch_images])
    return {kind: values.numpy() for kind, values in sums.found().items()}


def pair(images=40, width=6, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(images, width))
    return x, 0.6 * x + 0.8 * random.normal(size=(images, width))


def numpy_debiased(x, y):
    """The same with equation 5 of Song et al. (2012), from Gram matrices of zero diagonal."""

    def hsic(k, m):
        n, k, m = len(k), k - np.diag(k.diagonal()), m - np.diag(m.diagonal())
        total = (k @ m).trace() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)
        return total / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@given(seed=st.integers(0, 1000), images=st.integers(6, 30), shift=st.floats(-100, 100))
def test_debiased_cka_is_that_of_gram_matrices(seed, images, shift):
    x, y = pair(images, 5, seed)
    expected = numpy_debiased(x, y)
    assert summed(x + shift, y - shift)["debiased"].item() == pytest.approx(expected, abs=1e-6)


def test_debiased_cka_of_features_that_have_nothing_in_common_is_near_0():
    random = np.random.default_rng(1)
    found = [summed(*random.normal(size=(2, 30, 60))) for _ in range(20)]
    assert np.mean([each["cka"] for each in found]) > 0.5
    assert abs(np.mean([each["debiased"] for each in found])) < 0.05


def test_what_other_images_have_in_common_is_the_mean_over_all_pairs():
    x, y = pair(12)
    x, y = x + 3 * x[0], y + 3 * x[0]  # something that all share
    y[4] = 2.5  # constant, so that it has no correlation
    expected = [np.corrcoef(x[i], y[j])[0, 1] for i in range(12) for j in range(12) if i != j and j != 4]
    assert summed(x, y)["other"].item() == pytest.approx(np.mean(expected), abs=1e-9)


# ---- the features ----


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_every_kind_of_network_has_features_that_its_head_makes_logits_of(name):
    looked_at = small(name)
    net, images = looked_at.net, torch.rand(2, 3, *looked_at.size)
    features = looked_at.features(images)
    assert information_loss.refuses(looked_at) is None
    assert features.shape[0] == 2 and features.ndim == 2
    head = getattr(net, "head", getattr(net, "fc", getattr(net, "classifier", None)))
    head = getattr(head, "fc", head)
    expected = looked_at(images)
    if getattr(net, "head_dist", None) is not None:
        other = models.Model(net, looked_at.size, "shape").features(images)
        assert (other.equal(features)) == (net.global_pool == "avg")  # LeViT pools for both heads
        assert net.head_dist(other) == pytest.approx(2 * expected - head(features), abs=1e-4)
    else:
        assert head(features) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
@torch.inference_mode()
def test_the_features_of_a_transformer_are_its_normalised_class_token(name):
    looked_at, images = small(name), torch.rand(2, 3, SIDE, SIDE)
    net = looked_at.net
    x = net.patch_embed(looked_at.prepare(images))
    tokens = [net.cls_token, *([net.reg_token] if net.reg_token is not None else [])]
    tokens = [token.expand(2, -1, -1) for token in tokens]
    if net.no_embed_class:
        x = torch.cat([*tokens, x + net.pos_embed], 1)
    else:
        x = torch.cat([*tokens, x], 1) + net.pos_embed
    for block in net.blocks:
        x = block(x)
    assert looked_at.features(images) == pytest.approx(net.norm(x)[:, 0], abs=1e-5)


@torch.inference_mode()
def test_the_features_of_a_cnn_are_the_mean_over_its_last_map():
    looked_at, images = small("test_resnet"), torch.rand(2, 3, 160, 160)
    net = looked_at.net
    x = net.maxpool(net.act1(net.bn1(net.conv1(looked_at.prepare(images)))))
    x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
    assert looked_at.features(images) == pytest.approx(x.mean((2, 3)), abs=1e-5)


@torch.inference_mode()
def test_a_distilled_network_has_features_of_each_of_its_tokens():
    net = model("deit_tiny_distilled_patch16_224", **VIT).net
    images = torch.rand(2, 3, SIDE, SIDE)
    tokens = net.forward_features(models.Model(net).prepare(images))
    for head, place in [(None, 0), ("mean", 0), ("class", 0), ("shape", 1)]:
        assert models.Model(net, head=head).features(images).equal(tokens[:, place])


@pytest.mark.parametrize(
    ("name", "options"), [("vgg_normalised", {}), ("test_resnet", {"num_classes": 0, "global_pool": ""})]
)
def test_a_network_without_one_vector_is_refused(name, options):
    from patchwork import vgg_normalised  # noqa: F401 - makes itself known to timm

    assert "no one vector of features" in information_loss.refuses(model(name, **options))


# ---- the correlations ----


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "test_resnet"])
def test_all_are_those_of_features_dumped(name):
    looked_at, data = model(name, **SMALL[name]), Dataset(12)
    found = measured(looked_at, data)
    assert set(found) == {(kind, *cell) for kind in KINDS for cell in CELLS}
    for cell in CELLS:
        whole, dropped = dumped(looked_at, data, *cell)
        of_images, of_dimensions = numpy_pearson(whole, dropped), numpy_pearson(whole.T, dropped.T)
        assert found["image", *cell] == pytest.approx(of_images, abs=1e-5)
        assert found["dimension", *cell] == pytest.approx(of_dimensions, abs=1e-4, nan_ok=True)
        assert found["cka", *cell] == pytest.approx(numpy_cka(whole, dropped), abs=1e-5)
        assert found["debiased", *cell] == pytest.approx(numpy_debiased(whole, dropped), abs=1e-4)
        pairs = [np.corrcoef(whole[i], dropped[j])[0, 1] for i in range(12) for j in range(12) if i != j]
        assert found["other", *cell] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_batches_change_nothing():
    looked_at = model("vit_tiny_patch16_224", **VIT)
    once, more, single = (measured(looked_at, batch_images=n) for n in (12, 5, 1))
    for key in once:
        assert more[key] == pytest.approx(once[key], abs=1e-5)
        assert single[key] == pytest.approx(once[key], abs=1e-5)


def test_a_seed_finds_the_same_whatever_others_there_are():
    looked_at = model("vit_tiny_patch16_224", **VIT)
    alone, both = measured(looked_at, seeds=(1,)), measured(looked_at)
    assert all(both[key] == pytest.approx(alone[key]) for key in alone)
    assert both["image", 0.5, 0] != pytest.approx(both["image", 0.5, 1], abs=1e-3)


def test_where_nothing_is_dropped_all_is_left(monkeypatch):
    monkeypatch.setattr(information_loss, "LEVELS", [0])
    for (kind, *_), values in measured(model("vit_tiny_patch16_224", **VIT)).items():
        assert (values == pytest.approx(1)) == (kind != "other")


def test_images_that_are_all_the_same_leave_only_their_own_correlation():
    data = Dataset(6)
    data.values[:] = 0  # dropping black changes nothing
    found = measured(model("vit_tiny_patch16_224", **VIT), data)
    for cell in CELLS:
        assert found["image", *cell] == pytest.approx(1)
        assert np.isnan(found["dimension", *cell]).all() and np.isnan(found["cka", *cell]).all()
        assert np.isnan(found["debiased", *cell]).all() and found["other", *cell] == pytest.approx(1)


def test_a_constant_dimension_has_no_correlation_and_changes_no_cka():
    x, y = pair()
    expected, cka = streamed(x, y)
    constant = np.full((len(x), 1), 0.1, np.float32).astype(float)
    found, with_constant = streamed(np.hstack([x, constant]), np.hstack([y, x[:, :1]]))
    assert found[:-1] == pytest.approx(expected) and np.isnan(found[-1])
    # constant but for what float32 rounds
    noise = 1e4 * (1 + 1e-8 * np.random.default_rng(0).normal(size=(len(x), 1)))
    assert np.isnan(streamed(np.hstack([x, noise]), np.hstack([y, noise]))[0][-1])
    assert with_constant == pytest.approx(numpy_cka(x, np.hstack([y, x[:, :1]])))
    assert cka == pytest.approx(numpy_cka(x, y))
    assert np.isnan(streamed(np.ones((9, 3)), x[:9, :3])[1])


def test_a_mean_far_from_0_costs_no_digits():
    x, y = pair(images=200)
    far = [np.float32(values + 1e4).astype(float) for values in (x, y)]
    found, cka = streamed(*far)
    assert found == pytest.approx(
        [np.corrcoef(*both)[0, 1] for both in zip(*(f.T for f in far), strict=True)]
    )
    assert cka == pytest.approx(numpy_cka(*far))


@given(
    scale=st.floats(0.1, 1e3),
    shift=st.floats(-100, 100),
    batch_images=st.integers(1, 50),
    seed=st.integers(0, 100),
)
def test_shift_and_scale_change_no_correlation(scale, shift, batch_images, seed):
    x, y = pair(seed=seed)
    expected, moved = streamed(x, y), streamed(x, scale * y + shift, batch_images)
    assert moved[0] == pytest.approx(expected[0], abs=1e-6)
    assert moved[1] == pytest.approx(expected[1], abs=1e-6)
    tensors = torch.from_numpy(x), torch.from_numpy(y)[None]
    of_images = of_each(*tensors)
    assert of_each(tensors[0], scale * tensors[1] + shift) == pytest.approx(of_images, abs=1e-6)
    assert of_each(tensors[0], -tensors[1]) == pytest.approx(-of_images)


def test_cka_is_1_of_the_same_features_turned_and_near_0_of_others():
    x, y = pair(images=500)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert streamed(x, 3 * x @ turn + 5)[1] == pytest.approx(1)
    assert streamed(x @ turn, y)[1] == pytest.approx(streamed(x, y)[1])
    assert streamed(x, pair(images=500, seed=9)[0])[1] < 0.05
    assert streamed(x @ np.diag([9, 1, 1, 1, 1, 1]), x)[1] < 0.9  # a scale of single dimensions is not free


def test_a_grid_of_too_many_tiles_is_told():
    with pytest.raises(ValueError, match=r"settings\.information_loss\.grid: 20x20 has more than 256 tiles"):
        information_loss.measure(subject(model(**VIT), settings={"grid": "20x20"}))


def test_the_table_has_nulls_where_there_is_no_number(tmp_path):
    data = Dataset(6)
    data.values[:] = 0
    looked_at = subject(model("vit_tiny_patch16_224", **VIT), data, settings=SETTINGS, seeds=SEEDS)
    measuring.measure("information_loss", looked_at, tmp_path / "table.parquet", tmp_path / "e.safetensors")
    rows = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert Counter(row["kind"] for row in rows) == (
        {"image": 6 * 6, "dimension": 6 * 24, "cka": 6, "debiased": 6, "other": 6}
    )
    assert all((row["index"] is None) == (row["kind"] not in ("image", "dimension")) for row in rows)
    assert all((row["value"] is None) == (row["kind"] not in ("image", "other")) for row in rows)


# ---- superclasses ----

MEMBERS = {  # typed by hand
    "n02099601": "Dog",  # golden retriever
    "n02110958": "Dog",  # pug
    "n02123045": "Carnivore",  # tabby
    "n02114367": "Carnivore",  # timber wolf
    "n02134084": "Carnivore",  # ice bear
    "n01514668": "Bird",  # cock
    "n01855672": "Bird",  # goose
    "n02002724": "Bird",  # black stork
    "n01665541": "Reptile",  # leatherback turtle
    "n01698640": "Reptile",  # American alligator
    "n02165456": "Insect",  # ladybug
    "n02480855": "Primate",  # gorilla
    "n02487347": "Primate",  # macaque
    "n02980441": "Structure",  # castle
    "n02793495": "Structure",  # barn
    "n04254777": "Clothing",  # sock
    "n03594734": "Clothing",  # jean
    "n04285008": "Vehicle",  # sports car
    "n03792782": "Vehicle",  # mountain bike
    "n03776460": "Vehicle",  # mobile home: as near to a structure
    "n04487394": "Instrument",  # trombone
    "n03452741": "Instrument",  # grand piano
    "n07753592": "Food",  # banana
    "n03376595": "Furniture",  # folding chair
    "n04344873": "Furniture",  # studio couch
    "n01443537": None,  # goldfish
    "n02690373": None,  # airliner
    "n01910747": None,  # jellyfish
    "n01773797": None,  # garden spider
    "n02398521": None,  # hippopotamus
}


def superclasses():
    with open(ROOT / "reports/superclasses.csv", newline="") as opened:
        return list(csv.DictReader(line for line in opened if not line.startswith("#")))


def test_superclasses_are_twelve_disjoint_groups_of_classes_of_imagenet():
    rows = superclasses()
    groups = {row["wnid"]: row["superclass"] for row in rows}
    assert len(groups) == len(rows) == 525  # no class stands there twice
    assert set(groups) <= set(timm.data.ImageNetInfo().label_names())
    counts = Counter(groups.values())
    assert counts["Dog"] == 118 and counts["Insect"] == 27 and counts["Reptile"] == 36
    assert counts["Instrument"] == 26 and counts["Primate"] == 20 and len(counts) == 12
    assert {wnid: groups.get(wnid) for wnid in MEMBERS} == MEMBERS


def test_all_dogs_are_dogs():
    """The breeds are the classes 151 to 268 of ImageNet."""
    dogs = {row["wnid"] for row in superclasses() if row["superclass"] == "Dog"}
    assert dogs == set(timm.data.ImageNetInfo().label_names()[151:269])


def test_published_numbers_name_the_same_superclasses():
    with open(ROOT / "reports/published.csv", newline="") as opened:
        rows = [r for r in csv.DictReader(opened) if r["experiment"] == "feature_correlation_superclass"]
    named = {row["condition"].split("superclass=")[1].split(";")[0] for row in rows}
    assert named == {row["superclass"] for row in superclasses()} and len(rows) == 60


# ---- marts and figures ----


class Loss(Corrupted):
    """A dataset of six images of three classes, and made-up correlations of one model."""

    CLASSES = ("n02099601", "n02110958", "n01443537")  # golden retriever, pug, goldfish

    def __init__(self, folder, names=CLASSES):
        super().__init__(folder, 6, {"net": {None: 1, "fog": 2}}, [1])
        self.index = self.index.set_column(2, "class_name", [[names[i] for i in (0, 0, 1, 1, 1, 2)]])

    def build(self, rows, model="net"):
        file = self.folder / f"set/{model}/information_loss.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        fields = {name: pa.type_for_alias(kind) for name, kind in COLUMNS["information_loss"].items()}
        columns = dict(zip(fields, zip(*rows, strict=True), strict=True))
        pq.write_table(pa.table({n: list(v) for n, v in columns.items()}, pa.schema(fields)), file)
        asked = {"dataset": "set", "model": model, "measure": "information_loss", "model_family": "any"}
        return super().build(measures=[asked | {"file": file}])


IMAGES = np.array([[0.9, 0.7, 0.5, 0.3, 0.1, 0.2], [0.7, 0.7, 0.4, 0.4, 0.1, 0.0]])  # [seeds, images]
ROWS = [("image", 0.5, seed, image, IMAGES[seed][image]) for seed in (0, 1) for image in range(6)]
ROWS += [("dimension", 0.5, 0, 0, 0.5), ("dimension", 0.5, 0, 1, None), ("dimension", 0.5, 0, 2, 0.1)]
ROWS += [("cka", 0.5, 0, None, 0.6), ("cka", 0.5, 1, None, 0.8)]


def test_the_mart_has_what_numpy_finds(tmp_path):
    found = warehouse.query(Loss(tmp_path).build(ROWS), "FROM features_left").to_pylist()
    found = {row["kind"]: row for row in found}
    image, dimension, cka = (found[kind] for kind in ("image", "dimension", "cka"))
    means = IMAGES.mean(0)
    margin = 1.959964 * means.std(ddof=1) / np.sqrt(6)
    assert image["correlation"] == pytest.approx(means.mean())
    assert (image["low"], image["high"]) == pytest.approx((means.mean() - margin, means.mean() + margin))
    assert image["deviation"] == pytest.approx(IMAGES.std(1, ddof=1).mean())
    assert (image["images"], image["seeds"], image["constant"]) == (6, 2, 0)
    assert dimension["correlation"] == pytest.approx(0.3) and dimension["constant"] == 1
    assert dimension["deviation"] == pytest.approx(np.std([0.5, 0.1], ddof=1))
    assert cka["correlation"] == pytest.approx(0.7) and cka["deviation"] == pytest.approx(0.02**0.5)
    assert dimension["low"] is dimension["high"] is cka["low"] is cka["high"] is None
    assert {row["level"] for row in found.values()} == {0.5}


def test_superclasses_are_means_over_classes_of_their_means(tmp_path):
    [dog] = warehouse.query(Loss(tmp_path).build(ROWS), "FROM features_left_by_group").to_pylist()
    means = IMAGES.mean(0)
    retrievers, pugs = means[:2], means[2:5]
    expected = (retrievers.mean() + pugs.mean()) / 2
    margin = 1.959964 * np.sqrt(retrievers.var(ddof=1) / 2 + pugs.var(ddof=1) / 3) / 2
    assert dog["class_group"] == "Dog" and dog["correlation"] == pytest.approx(expected)
    assert (dog["low"], dog["high"]) == pytest.approx((expected - margin, expected + margin))
    assert (dog["classes"], dog["images"], dog["seeds"]) == (2, 5, 2)


def test_other_classes_are_groups_of_their_own(tmp_path):
    found = Loss(tmp_path, ("circle", "ring", "star")).build(ROWS)
    circle, ring, star = warehouse.query(found, "FROM features_left_by_group").to_pylist()
    assert [row["class_group"] for row in (circle, ring, star)] == ["circle", "ring", "star"]
    assert ring["correlation"] == pytest.approx(IMAGES[:, 2:5].mean()) and ring["images"] == 3
    assert circle["low"] < circle["correlation"] < circle["high"]
    assert star["low"] is star["high"] is None  # one image tells nothing of its likes


@pytest.mark.parametrize("name", ["information_loss", "information_loss_groups"])
def test_published_numbers_stand_beside_those_of_imagenet_alone(tmp_path, name):
    figure = runpy.run_path(ROOT / f"reports/figures/{name}.py")
    for folder, names in [("imagenet", Loss.CLASSES), ("drawn", ("circle", "ring", "star"))]:
        path = Loss(tmp_path / folder, names).build(ROWS)
        cells = warehouse.query(path, figure["SQL"])
        others = {row["model"] for row in cells.to_pylist() if row["source"] != "this run"}
        published = {f"{model} (published)" for model in ("ResNet50", "TnT-S", "ViT-L", "DeiT-B", "T2T-24")}
        assert others == (published if folder == "imagenet" else set())
        drawn = vl_convert.vegalite_to_svg(theme.specification(figure["chart"](cells), ""))
        assert ("Primate" in drawn or "ViT-L (published)" in drawn) == (folder == "imagenet")
