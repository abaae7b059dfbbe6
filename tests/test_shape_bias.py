"""Shape bias of any observer: bootstrap, error consistency, people and networks of files, the trade-off."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import cohen_kappa_score

from conftest import ROOT
from made_up import CLASSES, IMAGES, STYLIZED, Results, conflict, cues, decide, figure, rows, training
from patchwork import bootstrap as intervals
from patchwork import folders, observers
from patchwork.report import models

GEIRHOS = ROOT / "rules/categories/geirhos.csv"
CATEGORIES = [*folders.read_categories(GEIRHOS)]
HEAD = ",".join(observers.COLUMNS)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def tell(path, categories):
    """Write the categories of a dataset into its index, as pack_images does."""
    import json

    table = pq.read_table(path)
    facts = {"classes": json.dumps([*categories]), "categories": json.dumps(categories)}
    pq.write_table(table.replace_schema_metadata(facts), path)


# ---- bootstrap ----

COUNTS = np.array([[30, 10], [8, 12], [20, 40], [0, 20]])  # shape, texture of 60 images each
DRAWN = np.array([60, 60, 60, 60])


def by_image(counts, images):
    """Decisions image by image: 1 shape, 0 texture, NaN neither; one array per class."""
    return [
        np.r_[np.ones(shape), np.zeros(texture), np.full(whole - shape - texture, np.nan)]
        for (shape, texture), whole in zip(counts, images, strict=True)
    ]


def test_intervals_are_those_of_a_bootstrap_of_the_images_themselves():
    def pooled(*classes, axis):
        return np.nanmean(np.concatenate(classes, axis=axis), axis=axis)

    def class_mean(*classes, axis):
        return np.mean([np.nanmean(each, axis=axis) for each in classes], axis=0)

    found = intervals.over_images(*COUNTS.T, DRAWN)
    for ends, statistic in ((found[:2], pooled), (found[2:], class_mean)):
        # scipy resamples each class by itself, too
        expected = bootstrap(
            by_image(COUNTS, DRAWN), statistic, n_resamples=9999, vectorized=True, method="percentile", rng=1
        ).confidence_interval
        assert ends == pytest.approx([expected.low, expected.high], abs=0.006)


def test_the_pooled_interval_agrees_with_wilsons():
    shape, texture = COUNTS[:3].sum(0)
    wilson = binomtest(int(shape), int(shape + texture)).proportion_ci(method="wilson")
    assert intervals.over_images(*COUNTS[:3].T, DRAWN[:3])[:2] == pytest.approx(
        [wilson.low, wilson.high], abs=0.02
    )


def test_equal_counts_give_equal_intervals_and_classes_without_a_decision_none():
    assert intervals.over_images(*COUNTS.T, DRAWN) == intervals.over_images(*COUNTS.T, DRAWN)
    empty = np.r_[COUNTS, [[0, 0]]]
    pooled, mean = intervals.biases(*empty.T)
    assert (pooled, mean) == (58 / 140, pytest.approx((30 / 40 + 8 / 20 + 20 / 60 + 0) / 4))
    assert np.isnan(intervals.over_images([0, 0], [0, 0], [5, 5])).all()


def test_observers_are_drawn_as_wholes():
    random = np.random.default_rng(0)
    shape, texture = random.integers(5, 40, (10, 3)), random.integers(1, 10, (10, 3))

    def pooled(a, b, axis):
        return a.sum(axis) / (a.sum(axis) + b.sum(axis))

    expected = bootstrap(
        (shape.sum(1), texture.sum(1)), pooled, paired=True, vectorized=True, method="percentile", rng=1
    ).confidence_interval
    found = intervals.over_observers(shape, texture)
    assert found[:2] == pytest.approx([expected.low, expected.high], abs=0.006)
    means = [intervals.over_observers(shape[:, [c]], texture[:, [c]])[:2] for c in range(3)]
    assert min(low for low, _ in means) < found[2] < found[3] < max(high for _, high in means)


def test_kappa_is_that_of_its_definition():
    assert intervals.kappa([20, 5, 10, 15]) == pytest.approx(0.4)  # 0.7 agree, 0.5 by chance
    random = np.random.default_rng(0)
    first = random.random(500) < 0.6
    second = np.where(random.random(500) < 0.5, first, random.random(500) < 0.3)
    table = [
        (first & second).sum(),
        (first & ~second).sum(),
        (~first & second).sum(),
        (~first & ~second).sum(),
    ]
    assert intervals.kappa(table) == pytest.approx(cohen_kappa_score(first, second))
    low, high = intervals.kappa_interval(table)
    expected = bootstrap(
        (first, second), cohen_kappa_score, paired=True, n_resamples=999, method="percentile", rng=1
    ).confidence_interval
    assert [low, high] == pytest.approx([expected.low, expected.high], abs=0.015)
    assert np.isnan(intervals.kappa([10, 0, 0, 0]))


# ---- marts ----


def test_the_class_mean_lets_every_class_count_alike(results):
    results.dataset("conflict", *conflict())
    results.strip("conflict", "net", decide(100, 150))
    path = results.build()
    [row] = rows(path, "FROM shape_bias")
    labels, textures = cues(IMAGES)
    pred = decide(100, 150)
    counts = [
        (np.sum((pred == c) & (labels == c)), np.sum((pred == textures) & (labels == c))) for c in range(4)
    ]
    assert row["shape_bias"] == 100 / 250
    assert row["class_mean"] == pytest.approx(np.mean([s / (s + t) for s, t in counts]))
    ends = intervals.over_images(*np.array(counts).T, [100] * 4)[2:]
    assert [row["class_mean_low"], row["class_mean_high"]] == pytest.approx(ends)
    assert (row["classes_decided"], row["classes"]) == (4, 4)


def test_a_category_without_images_is_still_an_answer_and_a_texture(results):
    categories = {name: [f"{name} {i}" for i in range(2)] for name in CLASSES}
    labels, names = [0, 0, 1, 1], ["circle", "circle", "ring", "ring"]
    results.dataset("few", labels, names, ["star", "ring", "circle", "ring"])  # the last is no conflict
    results.strip("few", "net", np.array([3, 0, 0, 1]))
    tell(results.indexes["few"], categories)
    [row] = rows(results.build(), "FROM shape_bias")
    assert (row["images"], row["shape"], row["texture"], row["chance"]) == (3, 1, 2, 1 / 4)


def test_error_consistency_is_kappa_of_being_right_about_the_shape(results):
    labels, _ = cues(IMAGES)
    results.dataset("conflict", *conflict())
    preds = {"one": decide(200, 100), "two": np.roll(decide(150, 100), 80), "three": decide(0, 400)}
    for name, pred in preds.items():
        results.strip("conflict", name, pred)
    path = results.build()
    found = {(row["observer"], row["other"]): row for row in rows(path, "FROM error_consistency")}
    assert set(found) == {("one", "two"), ("one", "three"), ("three", "two")}
    for (a, b), row in found.items():
        expected = cohen_kappa_score(preds[a] == labels, preds[b] == labels)
        assert row["images"] == IMAGES and row["kappa"] == pytest.approx(expected)
        assert row["low"] <= row["kappa"] <= row["high"]
    shown = figure(path, "error_consistency")
    assert len(shown) == 6 and {row["model"] for row in shown} == set(preds)


def trade(path):
    return {row["model"]: row for row in rows(path, "FROM tradeoff")}


def test_the_price_of_each_token_stands_in_one_row_and_what_was_not_measured_is_empty(results):
    labels, names, _ = conflict()
    results.dataset("conflict", *conflict())
    for name in ("held_out", "sin"):
        results.dataset(name, labels, names, names)
    results.strip("conflict", "vit_shape", decide(180, 180))
    results.strip("conflict", "cnn", decide(300, 60))
    for name, right in (("held_out", 380), ("sin", 100)):
        results.strip(name, "vit_shape", decide(right, 0))
    results.strip("held_out", "vit_class", decide(390, 0))
    told = [training("vit_shape", "train", "vit", head="shape", teacher="cnn"), training("cnn", "sin_train")]
    path = results.build(told, STYLIZED)
    found = trade(path)
    assert [*found] == ["cnn", "vit_class", "vit_shape"]
    row = found["vit_shape"]
    assert (row["head"], row["teacher"], row["trained_on"], row["run"]) == ("shape", "cnn", "train", "vit")
    assert (row["natural_images"], row["stylized_images"]) == ("held_out", "sin")
    assert (row["natural_top1"], row["stylized_top1"], row["shape_bias"]) == (0.95, 0.25, 0.5)
    low, high = binomtest(380, 400).proportion_ci(method="wilson")
    assert (row["natural_low"], row["natural_high"]) == pytest.approx((low, high))
    assert found["vit_class"]["shape_bias"] is None and found["cnn"]["natural_top1"] is None
    text = models.tradeoff([*found.values()])
    assert "95.0 (92 to 97)" in text and "top-1 on held_out, %" in text and text.count(">-<") == 10


def test_the_natural_images_of_categories_are_those_of_the_classes_they_are_made_of(results):
    categories = {name: [f"{name} {i}" for i in range(2)] for name in CLASSES}
    fine = sorted(name for names in categories.values() for name in names)
    results.dataset("conflict", *conflict())
    results.dataset("photos", np.arange(8), fine)
    results.dataset("others", np.arange(8), [f"other {i}" for i in range(8)])
    results.strip("conflict", "net", decide(180, 60))
    for name in ("photos", "others"):
        results.strip(name, "net", np.r_[np.arange(6), 0, 0])
    tell(results.indexes["conflict"], categories)
    tell_classes(results.indexes["photos"], fine)
    [row] = figure(results.build(), "tradeoff")
    assert (row["panel"], row["natural_top1"], row["shape_bias"]) == ("conflict · photos", 0.75, 0.75)


def tell_classes(path, classes):
    import json

    pq.write_table(pq.read_table(path).replace_schema_metadata({"classes": json.dumps(classes)}), path)


# ---- people ----


def sixteen(results, name="conflict"):
    """A dataset of the 16 categories, a conflict of each with the next, and a model that goes by shape."""
    textures = CATEGORIES[1:] + CATEGORIES[:1]
    results.dataset(name, np.arange(16), CATEGORIES, textures)
    results.strip(name, "net", np.arange(16))
    tell(results.indexes[name], folders.read_categories(GEIRHOS))


def published(category, observer="humans (pooled, n=10)"):
    with open(ROOT / "reports/published.csv", newline="") as opened:
        [row] = [
            row
            for row in csv.DictReader(opened)
            if row["experiment"] == "shape_bias_raw_geirhos"
            and row["model"] == observer
            and f";category={category};" in row["condition"]
            and row["metric"] == "shape_bias"
        ]
    return float(row["value"])


def test_the_published_people_stand_beside_models_on_their_categories_alone(results):
    sixteen(results)
    results.dataset("shapes", *conflict())
    results.strip("shapes", "net", decide(300, 60))
    path = results.build()
    humans = [row for row in rows(path, "FROM observed_bias") if row["kind"] != "model"]
    assert {row["dataset"] for row in humans} == {"conflict"} and len(humans) == 11
    [people] = [row for row in humans if row["kind"] == "people"]
    assert people["shape_bias"] == pytest.approx(published("all(pooled)"), abs=5e-5)
    assert people["class_mean"] == pytest.approx(published("all(class-mean)"), abs=5e-5)
    shares = [row["shape_bias"] for row in humans if row["kind"] == "person"]
    assert len(shares) == 10 and min(shares) < people["low"] < people["shape_bias"] < people["high"] < max(
        shares
    )
    # about the standard error of a mean over ten persons
    assert people["high"] - people["low"] == pytest.approx(
        2 * 1.96 * np.std(shares, ddof=1) / np.sqrt(10), rel=0.2
    )
    for category, value in [
        (row["class_name"], row["shape_bias"])
        for row in rows(path, "FROM observed_bias_by_class WHERE kind = 'people' AND class_name IS NOT NULL")
    ]:
        assert value == pytest.approx(published(category), abs=5e-5)
    shown = {row["model"] for row in figure(path, "shape_bias_by_category") if row["dataset"] == "conflict"}
    assert shown == {"net", "humans (published)", "subject-10 (“Humans”)"}
    [row] = [row for row in figure(path, "shape_bias") if row["dataset"] == "conflict"]
    assert row["human_bias"] == people["shape_bias"]


# Rows of published files (texture-vs-shape, raw-data), typed by hand.
SUBJECT = """\
subject-10,1,1,0.84811806678772,oven,airplane,0,0001_s5n_s10_0_airplane_00_airplane8-bicycle3.png
subject-10,1,2,0.733391046524048,cat,cat,0,0002_s5n_s10_0_cat_00_cat4-cat3.png
subject-10,1,3,0.778812885284424,bicycle,bicycle,0,0003_s5n_s10_0_bicycle_00_bicycle4-chair2.png
subject-10,1,18,NaN,na,elephant,0,0018_s5n_s10_0_elephant_00_elephant6-dog2.png
subject-10,1,19,1.10294003413147,car,bear,0,0019_s5n_s10_0_bear_00_bear10-car2.png
"""
NETWORK = """\
resnet50,1,1,NaN,bottle,airplane,NaN,airplane1-bicycle2.png
resnet50,1,3,NaN,clock,airplane,NaN,airplane1-clock1.png
resnet50,1,5,NaN,airplane,airplane,NaN,airplane10-airplane1.png
resnet50,1,46,NaN,airplane,airplane,NaN,airplane5-boat3.png
resnet50,1,109,NaN,bicycle,bear,NaN,bear3-bicycle2.png
"""


def write(folder, **files):
    paths = []
    for name, text in files.items():
        paths.append(folder / f"{name}.csv")
        paths[-1].write_text(f"{HEAD}\n{text}")
    return paths


def test_files_of_model_vs_human_are_read_as_they_are(tmp_path):
    table = observers.decisions("conflict", CATEGORIES, write(tmp_path, a=SUBJECT, b=NETWORK)).to_pylist()
    assert [row["stimulus"] for row in table[:2]] == ["airplane/airplane8-bicycle3", "cat/cat4-cat3"]
    assert [row["answer"] for row in table[:5]] == ["oven", "cat", "bicycle", None, "car"]
    assert [row["texture_class"] for row in table[5:]] == ["bicycle", "clock", "airplane", "boat", "bicycle"]
    assert [row["human"] for row in table] == [True] * 5 + [False] * 5


def build_with(results, **files):
    return results.build(decisions={"conflict": write(results.folder, **files)})


def test_what_others_decided_stands_beside_models(results):
    sixteen(results)
    again = SUBJECT.replace("subject-10", "subject-11").replace(",car,bear", ",bear,bear")
    path = build_with(results, a=SUBJECT, b=NETWORK, c=again)
    found = {row["observer"]: row for row in rows(path, "FROM observed_bias")}
    assert set(found) == {"net", "subject-10", "subject-11", "resnet50 (decisions)", "humans, n = 2"}
    counts = {name: (row["images"], row["shape"], row["texture"]) for name, row in found.items()}
    assert counts["subject-10"] == (4, 1, 1)  # cat-cat is no conflict; na and oven are neither
    assert counts["resnet50 (decisions)"] == (4, 1, 2)
    assert counts["humans, n = 2"] == (4, 3, 1)
    people = found["humans, n = 2"]
    assert (people["low"], people["high"]) == (0.5, 1.0)  # of one person twice
    assert people["class_mean"] == pytest.approx((1 + 1 / 2) / 2)  # bicycle, bear
    pairs = {(row["observer"], row["other"]): row for row in rows(path, "FROM error_consistency")}
    subjects = pairs["subject-10", "subject-11"]
    assert (subjects["images"], subjects["both_right"], subjects["second_right"]) == (4, 1, 1)
    assert subjects["kappa"] == pytest.approx(cohen_kappa_score([0, 1, 0, 0], [0, 1, 0, 1]))
    assert not [pair for pair in pairs if "net" in pair]  # none of its images is among theirs
    shown = {row["model"] for row in figure(path, "shape_bias")}
    assert shown == {"net", "resnet50 (decisions)"}


def test_models_and_others_are_paired_by_the_names_of_images(results):
    stems = [
        "airplane/airplane1-bicycle2",
        "airplane/airplane1-clock1",
        "airplane/airplane5-boat3",
        "bear/bear3-bicycle2",
    ]
    places = [CATEGORIES.index(stem.split("/")[0]) for stem in stems]
    textures = ["bicycle", "clock", "boat", "bicycle"]
    results.dataset("conflict", places, [CATEGORIES[place] for place in places], textures)
    results.strip("conflict", "net", np.array([0, 0, 0, 2]))
    path = results.indexes["conflict"]
    table = pq.read_table(path)
    table = table.set_column(table.column_names.index("path"), "path", [[f"{stem}.jpg" for stem in stems]])
    pq.write_table(table, path)
    tell(path, folders.read_categories(GEIRHOS))
    [row] = rows(build_with(results, b=NETWORK), "FROM error_consistency")
    assert (row["observer"], row["other"], row["images"]) == ("net", "resnet50 (decisions)", 4)
    assert row["kappa"] == pytest.approx(cohen_kappa_score([1, 1, 1, 0], [0, 0, 1, 0]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            NETWORK.replace(",bottle,", ",lamp,"),
            "a.csv, line 2, column object_response: 'lamp' is no class of conflict",
        ),
        (
            NETWORK.replace("clock,airplane,", "clock,plane,"),
            "a.csv, line 3, column category: 'plane' is no class",
        ),
        (
            NETWORK.replace("airplane5-boat3", "car5-boat3"),
            "a.csv, line 5, column imagename: 'car5-boat3.png' does not tell",
        ),
        (
            NETWORK.replace("bear3-bicycle2", "bear3-lamp2"),
            "a.csv, line 6, column imagename: 'bear3-lamp2.png' does not",
        ),
        (NETWORK + NETWORK.splitlines()[0], "column imagename: resnet50 decides airplane1-bicycle2 again"),
        ("resnet50,1,1\n", "a.csv, line 2: not as many cells"),
        (NETWORK.replace("resnet50,1,3", ",1,3"), "a.csv, line 3, column subj: is empty"),
    ],
)
def test_a_damaged_file_is_named_with_its_column(tmp_path, text, says):
    with pytest.raises(ValueError) as error:
        observers.decisions("conflict", CATEGORIES, write(tmp_path, a=text))
    assert says in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_foreign_file_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("image,answer\n1,cat\n")
    with pytest.raises(ValueError, match=r"a\.csv has no column subj"):
        observers.decisions("conflict", CATEGORIES, [tmp_path / "a.csv"])
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.csv is no CSV file"):
        observers.decisions("conflict", CATEGORIES, [tmp_path / "a.csv"])
