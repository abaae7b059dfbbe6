"""Shape against texture, and the trainings that tell of it: marts and figures of made-up decisions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from made_up import IMAGES, STYLIZED, Results, conflict, decide, figure, rows, student, training
from patchwork import building


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


# ---- shape bias ----

# label, class, what the texture stands for, prediction: typed by hand.
BY_HAND = [
    (0, "circle", "square", 0),  # shape
    (0, "circle", "square", 2),  # texture
    (0, "circle", "star", 0),  # shape
    (1, "ring", "circle", 1),  # shape
    (1, "ring", "circle", 0),  # texture
    (1, "ring", "circle", 3),  # neither: star
    (1, "ring", "circle", 7),  # neither: an output without a class here
    (2, "square", "square", 2),  # agree: not counted
    (2, "square", "heart", 2),  # no model can answer heart: not counted
    (2, "square", None, 2),  # texture not known: not counted
    (3, "star", "ring", 1),  # texture
]


def test_shape_bias_is_that_of_a_table_typed_by_hand(results):
    labels, names, textures, preds = zip(*BY_HAND, strict=True)
    results.dataset("conflict", labels, names, textures)
    results.strip("conflict", "net", np.array(preds))
    path = results.build()
    [row] = rows(path, "FROM shape_bias")
    counted = ("images", "shape", "texture", "decided", "chance")
    assert {name: row[name] for name in counted} == dict(zip(counted, (8, 3, 3, 6, 1 / 4), strict=True))
    assert row["shape_bias"] == pytest.approx(1 / 2)
    assert (row["top1"], row["texture_share"]) == (3 / 8, 3 / 8)
    for low, high, right, images in [
        ("low", "high", 3, 6),
        ("top1_low", "top1_high", 3, 8),
        ("texture_low", "texture_high", 3, 8),
    ]:
        interval = binomtest(right, images).proportion_ci(method="wilson")
        assert (row[low], row[high]) == pytest.approx((interval.low, interval.high))
    by_class = rows(path, "FROM shape_bias_by_class WHERE class_name IS NOT NULL ORDER BY class_name")
    assert [(row["class_name"], row["shape"], row["texture"], row["images"]) for row in by_class] == [
        ("circle", 2, 1, 3),
        ("ring", 1, 1, 4),
        ("star", 0, 1, 1),
    ]


def test_nothing_decided_is_no_bias_and_a_dataset_without_textures_has_none(results):
    results.dataset("conflict", *conflict())
    results.dataset("natural", *conflict()[:2])
    results.strip("conflict", "net", decide(0, 0))
    results.strip("natural", "net", decide(400, 0))
    path = results.build()
    [row] = rows(path, "FROM shape_bias")
    assert row["dataset"] == "conflict" and row["decided"] == 0
    assert row["shape_bias"] is row["low"] is row["high"] is None
    assert {row["dataset"] for row in rows(path, "FROM models")} == {"conflict", "natural"}


def test_only_untouched_images_count_and_a_strip_more_changes_nothing(results):
    results.dataset("conflict", *conflict())
    results.strip("conflict", "net", decide(300, 50))
    results.strip("conflict", "net", decide(300, 50), "a_shuffle", {4: [decide(0, 400)]}, whole=1)
    [row] = rows(results.build(), "FROM shape_bias")
    assert (row["images"], row["shape"], row["texture"]) == (400, 300, 50)


def test_a_clean_strip_is_in_the_table_of_models_and_in_no_curve(results):
    results.dataset("conflict", *conflict())
    results.strip("conflict", "net", decide(300, 50))
    path = results.build()
    [row] = rows(path, "FROM models")
    assert (row["model"], row["top1"], row["images"], row["perturbed"]) == ("net", 0.75, IMAGES, False)
    assert not rows(path, "FROM accuracy") and not rows(path, "FROM comparisons")


# ---- figures ----


def test_readability_has_both_answers_of_every_model_and_tells_stylized_images(results):
    for name in ("conflict", "sin_conflict"):
        results.dataset(name, *conflict())
    results.strip("conflict", "net", decide(300, 60))
    results.strip("sin_conflict", "net", decide(200, 100))
    shown = figure(results.build(stylized=STYLIZED), "readability")
    assert [(row["panel"], row["answer"], row["answered"], row["chance"]) for row in shown] == [
        ("conflict", "shape", 0.75, 0.25),
        ("conflict", "texture", 0.15, 0.25),
        ("sin_conflict (stylized)", "shape", 0.5, 0.25),
        ("sin_conflict (stylized)", "texture", 0.25, 0.25),
    ]
    for row in shown:
        interval = binomtest(round(row["answered"] * IMAGES), IMAGES).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_the_price_of_shape_bias_is_told_on_natural_images_of_the_same_classes(results):
    labels, names, _ = conflict()
    results.dataset("conflict", *conflict())
    results.dataset("held_out", labels, names, names)  # shape and texture agree
    results.dataset("few", labels, names, names)  # seen by one model
    results.dataset("sin", labels, names, names)  # stylized
    results.dataset("others", labels, np.char.add(names, "s"))  # other classes
    for model, right in (("net", 380), ("other", 300)):
        results.strip("conflict", model, decide(right - 200, 60))
        for name in ("held_out", "sin", "others"):
            results.strip(name, model, decide(right if name == "held_out" else 0, 0))
    results.strip("few", "net", decide(10, 0))
    shown = figure(results.build(stylized=STYLIZED), "tradeoff")
    assert [(row["panel"], row["model"], row["natural_top1"], row["shape_bias"]) for row in shown] == [
        ("conflict · held_out", "net", 0.95, 180 / 240),
        ("conflict · held_out", "other", 0.75, 100 / 160),
    ]


def test_a_distilled_network_is_shown_beside_its_teacher(results):
    results.dataset("conflict", *conflict())
    for model, counts in (("cnn", (300, 60)), ("vit_class", (90, 270)), ("vit_shape", (180, 180))):
        results.strip("conflict", model, decide(*counts))
    path = results.build([*student("vit", "cnn"), training("cnn", "sin_train")])
    assert [
        (row["model"], row["trained_on"], row["head"], row["shape_bias"], row["teacher_bias"])
        for row in figure(path, "shape_bias")
    ] == [
        ("cnn", "sin_train", "one head", 300 / 360, None),
        ("vit_class", "train", "class head", 0.25, 300 / 360),
        ("vit_shape", "train", "shape head", 0.5, 300 / 360),
    ]


# ---- trainings ----


def test_trainings_know_what_their_data_were_stylized_from_and_how_they_went(results):
    results.dataset("conflict", *conflict())
    results.strip("conflict", "vit", decide(300, 60))
    run = {"epoch": [1, 2], "loss": [2.0, 1.5], "top1": [0.2, 0.5], "held_out_top1": [0.25, None]}
    run |= {"held_out_shape_top1": [None, None], "held_out_images": [400, None], "learning_rate": [0.1, 0.0]}
    run |= {"images_per_second": [100, 110], "memory_mb": [500, 500], "seconds": [4, 4]}
    schema = pa.schema([field for field in building.EPOCHS if field.name != "run"])
    pq.write_table(pa.table(run, schema), results.folder / "vit_run.parquet")
    trainings = [training("vit", "sin_train", "vit_run"), training("plain", "train")]
    path = results.build(trainings, STYLIZED, [results.folder / "vit_run.parquet"])
    plain, vit = rows(path, "FROM trainings")
    assert (vit["run"], vit["stylized"], vit["content"], vit["stylizer"]) == (
        "vit_run",
        True,
        "train",
        "adain",
    )
    assert (plain["stylized"], plain["content"], plain["head"]) == (False, None, None)
    first, second = rows(path, "FROM epochs")
    assert (first["run"], first["epoch"], first["loss"], first["held_out_top1"]) == ("vit_run", 1, 2.0, 0.25)
    assert (second["top1"], second["held_out_top1"]) == (0.5, None)
