"""Shape against texture, and what the trainings show of it: marts of made-up decisions."""

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from conftest import COLUMNS, ROOT, SQL
from patchwork import foreground, tables, warehouse
from patchwork.report import claims, page

CLASSES = ["circle", "ring", "square", "star"]
IMAGES = 400


def cues(images):
    """The labels of images and what their textures stand for: never the same."""
    labels = np.arange(images) % len(CLASSES)
    return labels, (labels + 1 + np.arange(images) // len(CLASSES) % 3) % len(CLASSES)


def decide(shape, texture, images=IMAGES):
    """Predictions of which so many are the shape, so many the texture, and the rest neither."""
    labels, textures = cues(images)
    other = np.array(
        [min({*range(len(CLASSES))} - {a, b}) for a, b in zip(labels, textures, strict=True)], np.int64
    )
    return np.select(
        [np.arange(images) < shape, np.arange(images) < shape + texture], [labels, textures], other
    )


def conflict(images=IMAGES):
    """(label, class_name, texture_class) of such a dataset."""
    labels, textures = cues(images)
    names = np.array(CLASSES)
    return labels, names[labels], names[textures]


class Results:
    """Warehouses of made-up decisions, in a folder like results/."""

    def __init__(self, folder):
        self.folder, self.indexes, self.predictions, self.asked = Path(folder), {}, {}, []

    def dataset(self, name, labels, class_names, texture_classes=None):
        """An index; the texture of an image may be unknown (None)."""
        columns = {"image": np.arange(len(labels), dtype=np.int32), "label": np.asarray(labels, np.int16)}
        columns |= {"class_name": list(class_names), "path": [f"{i}.png" for i in range(len(labels))]}
        columns |= {"problem": pa.nulls(len(labels), pa.string())}
        if texture_classes is not None:
            columns |= {"texture_class": pa.array(list(texture_classes), pa.string())}
        self.indexes[name] = self.folder / f"images/{name}.parquet"
        self.indexes[name].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), self.indexes[name])
        self.labels = {**getattr(self, "labels", {}), name: np.asarray(labels)}

    def strip(self, dataset, model, pred, perturbation="clean", levels=(0,), after=None):
        """A strip with these predictions at its clean level, and `after` at the others."""
        labels = self.labels[dataset]
        path = self.folder / f"predictions/{dataset}/{model}/{perturbation}/plain.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = []
        for level in levels:
            seen = pred if level == levels[0] else after
            right = seen == labels
            columns = {"image": np.arange(len(labels)), "label": labels, "pred": seen}
            columns |= {"rank": np.where(right, 0, 1), "prob": np.where(right, 0.7, 0.1)}
            columns |= {"confidence": np.full(len(labels), 0.7), "lost": np.zeros(len(labels))}
            columns |= {"tokens_lost": np.zeros(len(labels)), "tokens_cut": np.zeros(len(labels))}
            cells.append(tables.predictions(level, 0, columns))
        tables.write(path, cells[::-1], {})  # which level is the clean one is told, not seen by its place
        self.predictions[path] = None
        strip = {"dataset": dataset, "model": model, "perturbation": perturbation, "variant": "plain"}
        strip |= {"family": perturbation, "model_family": "net", "cells": [[level, 0] for level in levels]}
        self.asked.append(strip)

    def build(self, trainings=(), stylized=(), epochs=(), foregrounds=(), **more):
        path = self.folder / "warehouse.duckdb"
        given = {
            "predictions": [*self.predictions],
            "indexes": [*self.indexes.values()],
            "foregrounds": foregrounds,
        }
        given |= {name: ROOT / f"reports/{name}.csv" for name in ("published", "superclasses")}
        given |= {"trainings": epochs}
        told = {"asked": self.asked, "reference": self.asked[0]["model"], "columns": COLUMNS}
        told |= {"trainings": trainings, "stylized": stylized, **more}
        warehouse.build(path, given, told, *SQL, threads=1, memory_mb=500)
        return path


def training(model, data, run=None, settings="s", architecture="a", head=None, teacher=None):
    told = {"model": model, "run": run or model, "recipe": "embedded", "data": data, "head": head}
    return told | {"architecture": architecture, "settings": settings, "teacher": teacher}


def rows(path, sql):
    return warehouse.query(path, sql).to_pylist()


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
    results.strip("conflict", "net", decide(300, 50), "a_shuffle", (1, 4), decide(0, 400))
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


def figure(path, name):
    """The rows of a figure."""
    return rows(path, runpy.run_path(ROOT / f"reports/figures/{name}.py")["SQL"])


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


# ---- trainings and findings ----

STYLIZED = [
    {"dataset": "sin_train", "content": "train", "stylizer": "adain"},
    {"dataset": "sin_conflict", "content": "conflict", "stylizer": "adain"},
    {"dataset": "sin", "content": "held_out", "stylizer": "adain"},
]


def found(results, trainings, decisions):
    """{claim: (about, verdict, numbers)} of made-up (shape, texture) decisions on one or more datasets."""
    for name in sorted({name for name, _ in decisions}):
        results.dataset(name, *conflict())
    for (name, model), counts in decisions.items():
        results.strip(name, model, decide(*counts))
    path = results.build(trainings, STYLIZED)
    told = {}
    for row in rows(path, "FROM findings"):
        told.setdefault(row["claim"], []).append((row["about"], row["verdict"], row["numbers"]))
    return told


RAISED = "Training on stylized images raises the shape bias"


@pytest.mark.parametrize(
    ("stylized", "natural", "verdict"),
    [((300, 60), (80, 280), "yes"), ((80, 280), (300, 60), "no"), ((200, 160), (190, 170), "cannot tell")],
)
def test_a_network_is_compared_with_itself_trained_on_what_was_stylized(results, stylized, natural, verdict):
    trainings = [
        training("vit_sin", "sin_train"),
        training("vit", "train"),
        training("other_architecture", "train", architecture="b"),
        training("other_settings", "train", settings="t"),
        training("other_data", "else"),
        training("taught", "train", teacher="vit"),
    ]
    decisions = {("conflict", t["model"]): natural for t in trainings}
    decisions |= {("conflict", "vit_sin"): stylized, ("sin_conflict", "vit_sin"): natural}
    [(about, told, numbers)] = found(results, trainings, decisions | {("sin_conflict", "vit"): natural})[
        RAISED
    ]
    assert (about, told) == ("vit_sin against vit on conflict", verdict)
    if verdict == "yes":
        low, high = binomtest(300, 360).proportion_ci(method="wilson")
        assert numbers.startswith(f"0.83 ({low:.2f} to {high:.2f}) against 0.22 (")
        assert numbers.endswith("; 360 and 360 decided images")


def student(name, teacher, run=None):
    return [
        training(f"{name}_{head}", "train", name, head=head, teacher=teacher) for head in ("class", "shape")
    ]


@pytest.mark.parametrize(
    ("class_head", "shape_head", "teacher", "verdict"),
    [
        ((80, 280), (180, 180), (300, 60), "yes"),
        ((180, 180), (80, 280), (300, 60), "no"),
        ((80, 280), (300, 60), (180, 180), "no"),
        ((80, 280), (90, 270), (300, 60), "cannot tell"),
        ((80, 280), (180, 180), (190, 170), "cannot tell"),
        ((90, 270), (80, 280), (300, 60), "cannot tell"),  # the other order, but not apart
    ],
)
def test_a_shape_token_lies_between_class_token_and_teacher(
    results, class_head, shape_head, teacher, verdict
):
    trainings = [*student("vit", "cnn"), training("cnn", "sin_train", architecture="c")]
    decisions = {("conflict", "vit_class"): class_head, ("conflict", "vit_shape"): shape_head}
    told = found(results, trainings, decisions | {("conflict", "cnn"): teacher})
    [(about, said, numbers)] = told["The shape token lies between the class token and the teacher"]
    assert (about, said) == ("vit_shape between vit_class and cnn on conflict", verdict)
    assert f"class {class_head[0] / 360:.2f} (" in numbers and f"teacher {teacher[0] / 360:.2f} (" in numbers


@pytest.mark.parametrize(
    ("strong", "weak", "teachers", "verdict"),
    [
        ((250, 110), (100, 260), ((300, 60), (60, 300)), "yes"),
        ((100, 260), (250, 110), ((300, 60), (60, 300)), "no"),
        ((180, 180), (185, 175), ((300, 60), (60, 300)), "cannot tell"),
        ((250, 110), (100, 260), ((185, 175), (180, 180)), "cannot tell"),  # the teachers are alike
    ],
)
def test_students_of_two_teachers_are_compared(results, strong, weak, teachers, verdict):
    trainings = [*student("one", "cnn"), *student("two", "cnn_sin")]
    trainings += [training("cnn", "train"), training("cnn_sin", "sin_train")]
    decisions = {("conflict", "two_shape"): strong, ("conflict", "one_shape"): weak}
    decisions |= {("conflict", "one_class"): weak, ("conflict", "two_class"): weak}
    decisions |= {("conflict", "cnn_sin"): teachers[0], ("conflict", "cnn"): teachers[1]}
    told = found(results, trainings, decisions)
    [(about, said, numbers)] = told[
        "The teacher with the higher shape bias gives the shape token the higher one"
    ]
    assert (about, said) == ("two_shape taught by cnn_sin against one_shape by cnn on conflict", verdict)
    assert numbers.startswith(f"{strong[0] / 360:.2f} (") and f"{weak[0] / 360:.2f} (" in numbers


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((60, 300), (100, 90), "yes"),  # a chance of a quarter
        ((60, 300), (100, 250), "no"),
        ((60, 300), (100, 145), "cannot tell"),  # 0.36: not surely below 0.375
    ],
)
def test_texture_is_hidden_if_a_network_that_read_it_answers_as_by_chance(results, before, after, verdict):
    trainings = [training("vit", "train"), training("vit_sin", "sin_train")]
    decisions = {("conflict", "vit"): before, ("sin_conflict", "vit"): after}
    decisions |= {("conflict", "vit_sin"): before, ("sin_conflict", "vit_sin"): after}
    [(about, said, numbers)] = found(results, trainings, decisions)["Stylizing hides the texture"]
    assert (about, said) == ("vit on sin_conflict, which was stylized from conflict", verdict)
    assert f"against {before[1] / 400:.2f} (" in numbers and numbers.endswith("chance is 0.25")


def test_what_never_read_the_texture_does_not_tell_whether_it_is_hidden(results):
    decisions = {("conflict", "vit"): (100, 90), ("sin_conflict", "vit"): (100, 90)}
    assert "Stylizing hides the texture" not in found(results, [training("vit", "train")], decisions)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(380, 100, "yes"), (380, 250, "no"), (380, 145, "cannot tell"), (100, 100, "cannot tell")],
)
def test_texture_is_hidden_if_what_learns_to_name_it_cannot(results, before, after, verdict):
    labels, names, _ = conflict()
    for name in ("texture", "sin_texture"):  # classes are textures, which stand for other classes
        results.dataset(name, labels, np.char.add("texture of ", names), names)
    for name, model, right in (("texture", "net", before), ("sin_texture", "net_sin", after)):
        results.strip(name, model, decide(right, 0))
    trainings = [training("net", "texture_train"), training("net_sin", "sin_texture_train")]
    stylized = [
        {"dataset": "sin_texture_train", "content": "texture_train", "stylizer": "adain"},
        {"dataset": "sin_texture", "content": "texture", "stylizer": "adain"},
    ]
    [row] = rows(results.build(trainings, stylized), "FROM findings")
    assert row["claim"] == "Stylizing hides the texture even from a network that learns to name it"
    assert (row["about"], row["verdict"]) == ("net_sin on sin_texture, against net on texture", verdict)
    assert row["numbers"].startswith(f"texture named {after / 400:.2f} (")
    assert f"against {before / 400:.2f} (" in row["numbers"]


@pytest.mark.parametrize(("right", "verdict"), [(200, "yes"), (50, "no"), (105, "cannot tell")])
def test_shape_is_told_if_a_network_trained_on_stylized_images_is_above_chance(results, right, verdict):
    trainings = [training("vit", "train"), training("vit_sin", "sin_train")]
    decisions = {(data, model): (right, 0) for data in ("sin", "sin_train") for model in ("vit", "vit_sin")}
    [(about, said, numbers)] = found(results, trainings, decisions)["Stylized images still tell the shape"]
    assert (about, said) == ("vit_sin on sin", verdict)
    assert numbers.startswith(f"top-1 {right / 400:.2f} (") and "of 400 images" in numbers


def test_without_trainings_there_are_no_findings(results):
    assert found(results, [], {("conflict", "vit"): (300, 60)}) == {}
    assert claims.findings([]) == ""


@pytest.mark.parametrize(("apart", "verdict"), [(0.1, "yes"), (-0.1, "no"), (0.0, "cannot tell")])
def test_attention_is_compared_with_random_patches_image_by_image(results, apart, verdict):
    images, generator = 50, np.random.default_rng(0)
    noise = generator.normal(0, 0.05, images)
    noise -= noise.mean()
    scores = []
    for level in (0.1, 0.9):
        random = np.full(images, 0.3 + level / 10)
        scores.append(
            pa.table(
                [np.arange(images), np.full(images, level), random + apart + noise, random], foreground.SCORES
            )
        )
    file = results.folder / "foreground/conflict/dino.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables(scores), file)
    results.dataset("conflict", *conflict())
    results.strip("conflict", "vit", decide(300, 60))
    claim = "The class token attends to the object more than as many random patches"
    [row] = [row for row in rows(results.build(foregrounds=[file]), "FROM findings") if row["claim"] == claim]
    assert (row["about"], row["verdict"]) == ("dino on conflict", verdict)
    margin = 1.959964 * noise.std(ddof=1) / np.sqrt(images)
    assert row["numbers"] == (
        f"Jaccard index {0.35 + apart:.2f} against 0.35, difference "
        f"{apart + 0:.2f} ({apart - margin:.2f} to {apart + margin:.2f}); 50 images"
    )


def test_findings_stand_on_the_page_in_words(results):
    trainings = [training("<vit_sin>", "sin_train"), training("vit", "train")]
    decisions = {("conflict", "<vit_sin>"): (300, 60), ("conflict", "vit"): (80, 280)}
    found(results, trainings, decisions)
    path = results.folder / "warehouse.duckdb"
    shown = claims.findings(rows(path, "FROM findings"))
    assert f"<td>{RAISED}</td><td>&lt;vit_sin&gt; against vit on conflict</td><td>yes</td>" in shown
    template = (ROOT / "reports/page.html").read_text()
    text = page.page(template, path, [], [], [], [], {}, {"seeds": [0]})
    assert text.index('id="findings"') < text.index('id="models"') and shown in text


def test_trainings_know_what_their_data_were_stylized_from_and_how_they_went(results):
    results.dataset("conflict", *conflict())
    results.strip("conflict", "vit", decide(300, 60))
    run = {"epoch": [1, 2], "loss": [2.0, 1.5], "top1": [0.2, 0.5], "held_out_top1": [0.25, None]}
    run |= {"held_out_shape_top1": [None, None], "held_out_images": [400, None], "learning_rate": [0.1, 0.0]}
    run |= {"images_per_second": [100, 110], "memory_mb": [500, 500], "seconds": [4, 4]}
    schema = pa.schema([field for field in warehouse.EPOCHS if field.name != "run"])
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
