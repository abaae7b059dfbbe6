"""The numbers of the marts, and that every check finds what it is there for."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, norm, ttest_rel

from conftest import COLUMNS, LISTS, ROOT, SQL
from patchwork import building, metrics, tables, warehouse

IMAGES, CLASSES, SEEDS = 40, 5, [0, 1, 2]
MODELS = {"vit": "transformer", "cnn": "convolution"}
STRIPS = {  # (perturbation, variant): family and levels
    ("random_drop", "4x4"): ("occlusion", [0, 0.1, 0.5]),
    ("shuffle_grid", "plain"): ("permutation", [1, 16]),
}
SALIENT = {
    ("salient_drop", "area"): ("saliency", [0, 0.1, 0.5]),
    ("nonsalient_drop", "area"): ("saliency", [0, 0.5]),
    ("nonsalient_drop", "mass"): ("saliency", [0, 0.5]),
}
BROKEN = "vit/random_drop/4x4"  # the strip that tests break


class Study:
    """Made-up predictions of two models under some perturbations, in a folder like results/; the last model
    is the reference."""

    def __init__(self, folder, models=MODELS, dataset="shapes", strips=STRIPS):
        self.folder, self.dataset, self.published = folder, dataset, None
        self.labels = np.arange(IMAGES) % CLASSES
        self.strips, self.asked, self.refused, self.reference = {}, [], {}, [*models][-1]
        for number, (model, model_family) in enumerate(models.items()):
            clean = self.decide(np.random.default_rng(number), 0.8)
            for (perturbation, variant), (family, levels) in strips.items():
                random = np.random.default_rng([number, len(perturbation)])
                cells = [(levels[0], 0), *((level, seed) for level in levels[1:] for seed in SEEDS)]
                self.strips[f"{model}/{perturbation}/{variant}"] = [
                    self.cell(level, seed, clean if level == levels[0] else self.decide(random, 0.5), family)
                    for level, seed in cells
                ]
                self.asked.append(
                    {"dataset": dataset, "model": model, "perturbation": perturbation, "variant": variant}
                    | {"family": family, "model_family": model_family, "cells": [list(c) for c in cells]}
                )
        self.index = pa.table(
            {
                "image": pa.array([*range(IMAGES), None], pa.int32()),
                "label": pa.array([*self.labels, 0], pa.int16()),
                "class_name": [f"class{label}" for label in self.labels] + ["class0"],
                "path": [f"class{label}/{i}.png" for i, label in enumerate(self.labels)]
                + ["class0/<bad>.png"],
                "problem": pa.array([None] * IMAGES + ["cannot be read"], pa.string()),
            }
        )

    def decide(self, random, accuracy):
        return np.where(
            random.random(IMAGES) < accuracy,
            self.labels,
            (self.labels + random.integers(1, CLASSES)) % CLASSES,
        )

    def cell(self, level, seed, pred, family):
        right = pred == self.labels
        columns = {
            "image": np.arange(len(pred)),
            "label": self.labels,
            "pred": pred,
            "rank": np.where(right, 0, 2),
        }
        columns |= {"prob": np.where(right, 0.7, 0.1), "confidence": np.full(len(pred), 0.7)}
        lost = np.full(len(pred), level if family in ("occlusion", "saliency") else 0)
        columns |= {"lost": lost, "tokens_lost": lost, "tokens_cut": np.zeros(len(pred))}
        return tables.predictions(level, seed, columns)

    def change(self, column, value, cell=1, row=3):
        """Put another value into one row of a cell of the strip BROKEN."""
        rows = self.strips[BROKEN][cell]
        values = rows[column].to_pylist()
        values[row] = value
        field = rows.schema.field(column)
        self.strips[BROKEN][cell] = rows.set_column(
            rows.schema.get_field_index(column), field, pa.array(values, field.type)
        )

    def write(self):
        """The files of the study: predictions, and the index."""
        index = self.folder / f"images/{self.dataset}.parquet"
        index.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.index, index)
        files = []
        for name, cells in self.strips.items():
            file = self.folder / f"predictions/{self.dataset}/{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            tables.write(file, cells, {"refused": json.dumps(self.refused.get(name, []))})
            files.append(file)
        return files, index

    def build(self, path=None, foregrounds=(), saliency=None, beside=(), epochs=(), **more):
        """The warehouse of this study, and of others `beside` it."""
        studies = [self, *beside]
        files, indexes = zip(*(study.write() for study in studies), strict=True)
        path = path or self.folder / "warehouse.duckdb"
        published = self.published or ROOT / "reports/published.csv"
        given = {
            "predictions": [file for some in files for file in some],
            "indexes": [*indexes],
            "foregrounds": foregrounds,
        }
        given |= LISTS | {"published": published}
        given |= {"trainings": epochs}
        told = {"asked": [strip for study in studies for strip in study.asked], "reference": self.reference}
        told |= {"saliency": saliency, "columns": COLUMNS, **more}
        building.build(path, given, told, *SQL, threads=2, memory_mb=500)
        return path


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("built"))
    return study, study.build()


def rows(built, sql):
    return warehouse.query(built[1], sql).to_pylist()


def hits(study, strip, level):
    """Was each image decided rightly? bool [seeds, images]."""
    cells = [cell for cell in study.strips[strip] if cell["level"][0].as_py() == np.float32(level)]
    return np.array([pc.equal(cell["rank"], 0).to_numpy(zero_copy_only=False) for cell in cells])


def test_accuracy_is_the_mean_over_seeds_and_images_and_its_interval_is_over_images(built):
    found = rows(built, "FROM accuracy")
    assert len(found) == 2 * (3 + 2)
    for row in found:
        right = hits(built[0], f"{row['model']}/{row['perturbation']}/{row['variant']}", row["level"])
        assert row["top1"] == pytest.approx(right.mean())
        assert (row["images"], row["seeds"]) == (IMAGES, len(right))
        assert row["low"] <= row["top1"] <= row["high"]
        if row["clean"]:
            interval = binomtest(int(right.sum()), IMAGES).proportion_ci(method="wilson")
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
            assert row["seed_spread"] is None and row["relative"] == pytest.approx(1)
        else:
            assert row["seed_spread"] == pytest.approx(right.mean(axis=1).std(ddof=1))
    assert {row["level"] for row in found} == {0, 0.1, 0.5, 1, 16}  # float32 does not show


@pytest.mark.parametrize("right", [0, 1, 17, 39, 40])
def test_wilson_is_scipys(built, right):
    [row] = rows(built, f"SELECT wilson_low({right} / 40, 40) AS low, wilson_high({right} / 40, 40) AS high")
    interval = binomtest(right, 40).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_relative_is_of_the_untouched_accuracy_of_the_same_strip(built):
    for row in rows(built, "FROM accuracy WHERE NOT clean"):
        strip = f"{row['model']}/{row['perturbation']}/{row['variant']}"
        clean = hits(built[0], strip, STRIPS[row["perturbation"], row["variant"]][1][0]).mean()
        assert row["relative"] == pytest.approx(row["top1"] / clean)


def test_a_model_that_is_never_right_has_no_relative_accuracy(study):
    for strip in [name for name in study.strips if name.startswith("vit")]:
        cells = study.strips[strip]
        columns = {name: cells[0][name].to_numpy().copy() for name in cells[0].column_names}
        columns |= {
            "pred": (study.labels + 1) % CLASSES,
            "rank": np.ones(IMAGES),
            "prob": np.full(IMAGES, 0.1),
        }
        level, seed = columns.pop("level")[0], columns.pop("seed")[0]
        cells[0] = tables.predictions(level, seed, columns)
    path = study.build()
    found = warehouse.query(path, "FROM accuracy WHERE model = 'vit'").to_pylist()
    assert {row["relative"] for row in found} == {None}
    [model] = warehouse.query(path, "FROM models WHERE model = 'vit'").to_pylist()
    assert (model["top1"], model["low"], model["against_chance"]) == (0, 0, "below")


def test_models_datasets_and_files_left_out_have_their_marts(built):
    found = rows(built, "FROM models")
    assert [row["model"] for row in found] == ["cnn", "vit"]  # by family
    assert all(row["images"] == IMAGES and row["against_chance"] == "above" for row in found)
    assert all(row["perturbed"] for row in found)
    assert rows(built, "FROM datasets") == [
        {"dataset": "shapes", "images": IMAGES, "classes": CLASSES, "chance": 1 / CLASSES}
    ]
    assert rows(built, "FROM skipped") == [
        {"dataset": "shapes", "path": "class0/<bad>.png", "problem": "cannot be read"}
    ]


def test_chance_is_the_share_of_the_most_frequent_class(study):
    labels = np.where(np.arange(IMAGES) < 30, 0, 1)
    study = Study(study.folder)
    study.labels = labels
    study.index = study.index.set_column(1, "label", pa.array([*labels, 0], pa.int16()))
    for name, cells in study.strips.items():
        family = "occlusion" if "drop" in name else "permutation"
        study.strips[name] = [
            study.cell(cell["level"][0].as_py(), cell["seed"][0].as_py(), np.zeros(IMAGES, int), family)
            for cell in cells
        ]
    found = warehouse.query(study.build(), "FROM models").to_pylist()
    assert all(
        row["chance"] == 0.75 and row["top1"] == 0.75 and row["against_chance"] == "not told apart"
        for row in found
    )


def test_views_can_be_read_after_the_build(built):
    [row] = rows(built, "SELECT count(*) AS decisions, count(DISTINCT model) AS models FROM predictions")
    assert row == {"decisions": 2 * (7 + 4) * IMAGES, "models": 2}


def test_a_panel_names_the_perturbation_only_where_there_are_several(study):
    assert {row["panel"] for row in rows((study, study.build()), "FROM accuracy")} == {
        "shapes · 4x4 grid",
        "shapes",
    }
    for strip in study.asked:
        strip["family"] = "both"
    study.folder = study.folder / "again"
    panels = {row["panel"] for row in rows((study, study.build()), "FROM accuracy")}
    assert panels == {"shapes · random drop · 4x4 grid", "shapes · shuffle grid"}


# ---- Checks: each is broken by one corruption, which is named by what its comment says. ----


def lose_a_value(study):
    study.change("lost", None)


def lose_a_cell(study):
    del study.strips[BROKEN][2]


def lose_a_strip(study):
    del study.strips[BROKEN]


def add_a_cell(study):
    study.strips[BROKEN].append(study.cell(0.9, 0, study.labels, "occlusion"))


def add_a_strip(study):
    study.strips["vit/random_drop/8x8"] = study.strips[BROKEN]


def lose_an_image(study):
    study.strips[BROKEN] = [cell.slice(1) for cell in study.strips[BROKEN]]


def lose_an_image_of_one_cell(study):
    study.strips[BROKEN][3] = study.strips[BROKEN][3].slice(1)


def repeat_an_image(study):
    cell = study.strips[BROKEN][3]
    study.strips[BROKEN][3] = pa.concat_tables([cell, cell.slice(0, 1)])


def see_another_image(study):
    study.change("image", IMAGES + 7)


def see_an_image_twice_and_another_never(study):
    study.change("image", 4)


def compare_with_another_label(study):
    cell = study.strips[BROKEN][1]
    row = pc.index(cell["rank"], 2).as_py()
    pred, label = cell["pred"][row].as_py(), cell["label"][row].as_py()
    study.change("label", next(c for c in range(CLASSES) if c not in (pred, label)), row=row)


def decide_clean_images_otherwise(study):
    row = pc.index(study.strips[BROKEN][0]["rank"], 2).as_py()
    study.change("confidence", 1.0, cell=0, row=row)


def rank_a_wrong_prediction_first(study):
    study.change("rank", 0, row=pc.index(study.strips[BROKEN][1]["rank"], 2).as_py())


def rank_a_right_prediction_second(study):
    study.change("rank", 1, row=pc.index(study.strips[BROKEN][1]["rank"], 0).as_py())


def be_too_sure(study):
    study.change("confidence", np.float16(1.5))


def be_sure_of_nothing(study):
    study.change("prob", np.float16("nan"))


def prefer_the_true_class_to_the_predicted(study):
    study.change("prob", np.float16(0.8))


def lose_pixels_of_clean_images(study):
    study.change("lost", 0.25, cell=0)


def lose_more_than_everything(study):
    study.change("lost", 1.5)


def lose_more_than_all_tokens(study):
    study.change("tokens_cut", np.float16(1))


def learnt(study, measure, schema, rows, model="vit"):
    """What a config asks for, with a file of these rows."""
    file = study.folder / f"readouts/shapes/{model}/{measure}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return {"dataset": "shapes", "model": model, "measure": measure, "model_family": model, "file": file}


def probe(top1=0.5, correct=(True, False), images=2):
    told = {"protocol": "validated", "blocks": "last", "patch": "none", "classes": 2}
    return told | {"top1": top1, "correct": correct, "images": images}


def score_other_decisions(study):
    return {"measures": [learnt(study, "probe", tables.PROBES, [probe(top1=0.6)])]}


def lose_a_decision(study):
    return {"measures": [learnt(study, "probe", tables.PROBES, [probe(1, (True,))])]}


def be_tested_on_fewer_images(study):
    rows = [probe(), probe(0.75, (True, True, True, False), 4)]
    return {"measures": [learnt(study, "probe", tables.PROBES, rows)]}


def episodes(count=3, accuracy=0.5, ways=5):
    told = {"readout": "last", "classifier": "centroid", "setting": "5-way 1-shot", "seed": 0}
    told |= {"ways": ways, "supports": 5, "queries": 75, "accuracy": accuracy}
    return [told | {"episode": episode} for episode in range(count)]


def few_shot(study, **other):
    return {
        "measures": [
            learnt(study, "few_shot", tables.FEW_SHOTS, episodes(), "cnn"),
            learnt(study, "few_shot", tables.FEW_SHOTS, episodes(**other)),
        ]
    }


def lose_an_episode(study):
    return few_shot(study, count=2)


def draw_other_episodes(study):
    return few_shot(study, ways=4)


def be_right_too_often(study):
    return few_shot(study, accuracy=1.2)


def be_right_nowhere(study):
    return few_shot(study, accuracy=float("nan"))


def test_what_is_learnt_in_the_same_way_passes(study):
    measures = few_shot(study)["measures"] + [learnt(study, "probe", tables.PROBES, [probe()])]
    study.build(measures=measures)


CORRUPTIONS = [
    (lose_a_value, "missing value"),
    (lose_a_cell, "cell .* missing"),
    (lose_a_strip, "cell .* missing"),
    (add_a_cell, "nothing asks for"),
    (add_a_strip, "nothing asks for"),
    (lose_an_image, "exactly one prediction"),
    (lose_an_image_of_one_cell, "exactly one prediction"),
    (repeat_an_image, "exactly one prediction"),
    (see_an_image_twice_and_another_never, "exactly one prediction"),
    (see_another_image, "does not have"),
    (compare_with_another_label, "another label"),
    (decide_clean_images_otherwise, "two ways"),
    (rank_a_wrong_prediction_first, "rank"),
    (rank_a_right_prediction_second, "rank"),
    (be_too_sure, "probability"),
    (be_sure_of_nothing, "probability"),
    (prefer_the_true_class_to_the_predicted, "probability"),
    (lose_pixels_of_clean_images, "lost pixels"),
    (lose_more_than_everything, "lost pixels"),
    (lose_more_than_all_tokens, "lost pixels"),
    (score_other_decisions, "share of its right decisions"),
    (lose_a_decision, "share of its right decisions"),
    (be_tested_on_fewer_images, "share of its right decisions"),
    (lose_an_episode, "few-shot episodes"),
    (draw_other_episodes, "few-shot episodes"),
    (be_right_too_often, "few-shot episodes"),
    (be_right_nowhere, "few-shot episodes"),
]


@pytest.mark.parametrize(("corrupt", "says"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_check_finds(study, corrupt, says):
    more = corrupt(study) or {}
    with pytest.raises(ValueError) as caught:
        study.build(**more)
    meaning, *found = str(caught.value).splitlines()
    assert re.search(says, meaning)
    assert 1 <= len(found) <= building.SHOWN_ROWS
    assert all("dataset=shapes, model=vit" in row for row in found)


def test_every_check_is_tried():
    checks = [meaning for meaning, _ in building.statements((ROOT / "reports/checks.sql").read_text())]
    assert all(checks)
    assert all(any(re.search(says, check) for _, says in CORRUPTIONS) for check in checks)


def test_float16_may_round_the_probability_of_a_right_prediction_up(study):
    row = pc.index(study.strips[BROKEN][1]["rank"], 0).as_py()
    study.change("prob", np.nextafter(np.float16(0.7), np.float16(1)), row=row)
    study.build()


def test_statements_are_told_with_their_comments():
    text = "-- Of the file.\n\n-- One,\n-- two.\nSELECT 1\nWHERE ';' = ''; -- why\n\nSELECT 2;\n-- the end\n"
    found = list(building.statements(text))
    assert found == [("One, two.", "SELECT 1\nWHERE ';' = ''"), ("", "SELECT 2")]


def test_a_failed_build_leaves_nothing_open(study):
    lose_a_cell(study)
    with pytest.raises(ValueError):
        study.build()
    assert [path.name for path in study.folder.glob("warehouse*")] == ["warehouse.duckdb"]


# ---- paired differences ----


def bonett_price(first, second):
    """The adjusted Wald interval from the two cells of discordant pairs, as its authors write it."""
    only_first, only_second, pairs = np.sum(first & ~second), np.sum(second & ~first), len(first) + 2
    one, other = (only_first + 1) / pairs, (only_second + 1) / pairs
    error = norm.ppf(0.975) * np.sqrt((one + other - (one - other) ** 2) / pairs)
    return one - other - error, one - other + error


def test_models_are_compared_image_by_image(built):
    found = {
        (row["perturbation"], row["level"]): row for row in rows(built, "FROM accuracy WHERE model = 'vit'")
    }
    for (perturbation, level), row in found.items():
        strip = f"{perturbation}/{row['variant']}"
        vit, cnn = (hits(built[0], f"{model}/{strip}", level) for model in ("vit", "cnn"))
        assert row["difference"] == pytest.approx(vit.mean() - cnn.mean())
        if row["clean"]:
            low, high = bonett_price(vit[0], cnn[0])
            assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))
        assert row["difference_low"] < row["difference"] < row["difference_high"]
    reference = rows(built, "FROM accuracy WHERE model = 'cnn'")
    assert all(row["difference"] is None for row in reference)


def test_the_interval_over_seeds_is_nearly_that_of_a_paired_t_test(built):
    [row] = rows(built, "FROM accuracy WHERE model = 'vit' AND perturbation = 'random_drop' AND level = 0.5")
    vit, cnn = (hits(built[0], f"{model}/random_drop/4x4", 0.5).mean(0) for model in ("vit", "cnn"))
    interval = ttest_rel(vit, cnn).confidence_interval(0.95)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(interval, abs=0.03)


def test_an_interval_has_a_width_even_if_no_image_tells_models_apart(built):
    [row] = rows(built, "SELECT paired(0, 0, 40, -1) AS low, paired(0, 0, 40, 1) AS high")
    same = np.ones(40, bool)
    assert (row["low"], row["high"]) == pytest.approx(bonett_price(same, same))
    assert row["low"] < 0 < row["high"]


def test_a_comparison_is_over_all_levels_but_the_untouched_one(built):
    [drop, shuffle] = rows(built, "FROM comparisons ORDER BY perturbation")
    assert (drop["model"], drop["reference"], drop["images"]) == ("vit", "cnn", IMAGES)
    vit, cnn = (
        np.mean([hits(built[0], f"{model}/random_drop/4x4", level).mean(0) for level in (0.1, 0.5)], axis=0)
        for model in ("vit", "cnn")
    )
    assert drop["difference"] == pytest.approx((vit - cnn).mean())
    interval = ttest_rel(vit, cnn).confidence_interval(0.95)
    assert (drop["low"], drop["high"]) == pytest.approx(interval, abs=0.03)
    assert (drop["panel"], shuffle["panel"]) == ("shapes · random drop · 4x4 grid", "shapes · shuffle grid")


# ---- what a model refuses ----


def refuse(study, strip, levels):
    """Take levels out of a strip as a perturbation that refuses them does."""
    study.strips[strip] = [
        cell for cell in study.strips[strip] if round(cell["level"][0].as_py(), 6) not in levels
    ]
    study.refused[strip] = [[level, "has no tokens"] for level in levels]


def test_refused_levels_are_not_missed_but_told(study):
    refuse(study, "cnn/random_drop/4x4", [0.5])
    built = study, study.build()
    told = rows(built, "FROM refused")
    assert [(row["model"], row["perturbation"], row["reason"]) for row in told] == [
        ("cnn", "random_drop", "has no tokens")
    ]
    levels = rows(built, "SELECT level FROM accuracy WHERE model = 'cnn' AND perturbation = 'random_drop'")
    assert [row["level"] for row in levels] == [0, 0.1]


def test_a_strip_of_the_clean_level_alone_is_in_no_figure(study):
    refuse(study, "cnn/random_drop/4x4", [0.1, 0.5])
    built = study, study.build()
    assert not rows(built, "FROM accuracy WHERE model = 'cnn' AND perturbation = 'random_drop'")
    assert not rows(built, "FROM comparisons WHERE perturbation = 'random_drop'")
    assert rows(built, "FROM models WHERE model = 'cnn'")


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("plain", None),
        ("14x14", "14x14 grid"),
        ("8x8_mean", "8x8 grid, mean"),
        ("8x8_50", "8x8 grid, 50 %"),
        ("zero_25", "zero, 25 %"),
        ("gaussian_noise", "gaussian noise"),
        ("mass", "mass"),
    ],
)
def test_variants_are_told_in_words(built, variant, words):
    sql = f"SELECT in_words('any', '{variant}') AS words"
    assert rows(built, sql) == [{"words": words}]


def test_names_of_models_stay_as_they_are(built):
    sql = "SELECT in_words('adversarial_patch', 'resnet_50') AS words"
    assert rows(built, sql) == [{"words": "resnet_50"}]


def test_models_are_not_compared_under_a_patch_that_was_crafted_on_one_of_them(tmp_path):
    models = {"vit": "transformer", "other": "transformer", "cnn": "convolution"}
    strips = {("adversarial_patch", model): ("patch", [0, 0.25]) for model in models}
    strips |= {("adversarial_patch_aligned", "other"): ("patch", [0, 0.25])}
    built = Study(tmp_path, models, strips=strips), Study(tmp_path, models, strips=strips).build()
    expected = [{"model": "other", "variant": "vit"}, {"model": "vit", "variant": "other"}]
    assert rows(built, "SELECT model, variant FROM comparisons ORDER BY ALL") == expected
    levels = "SELECT DISTINCT model, variant FROM accuracy WHERE difference IS NOT NULL ORDER BY ALL"
    assert rows(built, levels) == expected


# ---- results of another version ----


def without(path, *names):
    """Take columns out of a parquet file, as of a version that did not know them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(path).drop_columns([*names]), path)
    return path


def made_up(path, schema):
    """A parquet file of one row of nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([pa.nulls(1, field.type) for field in schema], schema=schema), path)
    return path


ATTENTION = pa.schema({name: pa.type_for_alias(kind) for name, kind in COLUMNS["attention"].items()})
SCORES = pa.schema([field for field in building.FOREGROUND if field.name not in ("dataset", "model")])
OLDER = {  # a kind of files: a column that it lacks, the schema of one that has all, and what makes it
    "predictions": ("tokens_cut", tables.PREDICTIONS, "predict"),
    "indexes": ("problem", None, "pack_images"),
    "foregrounds": ("random", SCORES, "score_foreground"),
    "trainings": ("held_out_top1", metrics.EPOCHS, "export_weights"),
    "attention": ("visible_fraction", ATTENTION, "measure"),
    "probe": ("penalty", tables.PROBES, "probe"),
    "few_shot": ("ways", tables.FEW_SHOTS, "few_shot"),
}


@pytest.mark.parametrize("kind", OLDER)
def test_a_file_that_lacks_a_column_is_named_before_anything_is_built(tmp_path, kind):
    column, schema, rule = OLDER[kind]
    files, index = Study(tmp_path).write()
    given = {"predictions": files, "indexes": [index], "foregrounds": [], "trainings": []}
    one, other = tmp_path / "a/b/one.parquet", tmp_path / "a/b/other.parquet"
    for path in (one, other):
        made_up(path, schema or pq.read_schema(index))
    measures = [{"measure": kind, "file": path} for path in (one, other)] if kind not in given else []
    given |= {kind: [one, other]} if kind in given else {}
    told = {"measures": measures, "columns": COLUMNS}
    sure = re.escape(f"{without(other, column)} is of another version and lacks {column}")
    with pytest.raises(ValueError, match=f"^{sure}: delete it and run again$"):
        building.build(tmp_path / "w.duckdb", given, told, *SQL, threads=1, memory_mb=500)
    sure = re.escape(f"{without(one, column)} is of another version and lacks {column} (as do 1 more)")
    with pytest.raises(ValueError, match=f"^{sure}: snakemake --forcerun {rule} makes them again$"):
        building.build(tmp_path / "w.duckdb", given, told, *SQL, threads=1, memory_mb=500)
    assert not (tmp_path / "w.duckdb").exists()


def test_all_columns_that_a_file_lacks_are_named(study):
    [path, *_], _ = study.write()
    without(path, "tokens_lost", "tokens_cut")
    with pytest.raises(ValueError, match=f"^{path} is .* lacks tokens_lost, tokens_cut: delete it"):
        building.read_footers([path], tables.PREDICTIONS.names, "predict")


@pytest.mark.parametrize(("sql", "lacking"), [("FROM nothing", "nothing"), ("SELECT old FROM models", "old")])
def test_a_warehouse_that_lacks_a_table_or_a_column_is_named(built, sql, lacking):
    with pytest.raises(ValueError) as error:
        warehouse.query(built[1], sql)
    assert str(error.value).startswith(f"{built[1]} lacks what it is asked for (")
    assert lacking in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).endswith("snakemake --forcerun build_warehouse builds it again")


def test_a_warehouse_reads_the_files_beside_it_wherever_its_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Study(Path("results")).build()
    shutil.move("results", "renamed")
    count = "SELECT count(DISTINCT seed) AS seeds, count(DISTINCT path) AS paths FROM predictions, images"
    for folder, name in [(tmp_path, "renamed/"), (tmp_path / "renamed", ""), ("/", f"{tmp_path}/renamed/")]:
        monkeypatch.chdir(folder)
        found = warehouse.query(f"{name}warehouse.duckdb", count).to_pylist()
        assert found == [{"seeds": len(SEEDS), "paths": IMAGES + 1}]
