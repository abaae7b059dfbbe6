"""Corruption errors: numbers worked out by hand, and AlexNet's own, whose mCE is 100 by definition."""

import csv
import json
import runpy

import numpy as np
import pyarrow as pa
import pytest
import vl_convert

from conftest import ROOT
from patchwork import theme, warehouse
from patchwork.perturbations import corrupt
from test_warehouse import Study

COMMON, ALL_FIVE = corrupt.VARIANTS[:15], [1, 2, 3, 4, 5]


class Corrupted(Study):
    """Made-up predictions under corruptions, by how many of the images are decided wrongly."""

    def __init__(self, folder, images, wrong, severities, class_name="class{}"):
        """wrong: {model: {corruption: how many in all severities together; None: of untouched images}}."""
        self.folder, self.dataset, self.published = folder, "set", None
        self.labels, self.strips, self.asked = np.arange(images) % 2, {}, []
        self.refused, self.reference = {}, min(wrong)
        for model, counts in wrong.items():
            for corruption in [name for name in counts if name]:
                each = np.full(len(severities), counts[corruption] // len(severities))
                each[: counts[corruption] % len(severities)] += 1
                cells = [(0, 0), *((severity, 0) for severity in severities)]
                self.strips[f"{model}/corrupt/{corruption}"] = [
                    self.decided(level, number)
                    for (level, _), number in zip(cells, [counts[None], *each], strict=True)
                ]
                self.asked.append(
                    {"dataset": "set", "model": model, "perturbation": "corrupt", "variant": corruption}
                    | {"family": "corruption", "model_family": "any", "cells": [list(cell) for cell in cells]}
                )
        self.index = pa.table(
            {
                "image": pa.array(range(images), pa.int32()),
                "label": pa.array(self.labels, pa.int16()),
                "class_name": [class_name.format(label) for label in self.labels],
                "path": [f"{i}.png" for i in range(images)],
                "problem": pa.array([None] * images, pa.string()),
            }
        ).replace_schema_metadata({"classes": json.dumps(["of ImageNet"] * 1000)})

    def decided(self, level, wrong):
        pred = np.where(np.arange(len(self.labels)) < wrong, 1 - self.labels, self.labels)
        return self.cell(level, 0, pred, "corruption")


def published_alexnet():
    with open(ROOT / "reports/published.csv", newline="") as opened:
        found = [
            row for row in csv.DictReader(opened) if row["experiment"] == "imagenet_c_alexnet_normaliser"
        ]
    names = [row["condition"].removeprefix("corruption=").split(";")[0] for row in found]
    return {
        None if "untouched" in name else name: float(row["value"])
        for name, row in zip(names, found, strict=True)
    }


def found(study, sql):
    return warehouse.query(study.build(), sql).to_pylist()


def test_alexnets_own_errors_make_100(tmp_path):
    """As near as 2,000 images come: 5 severities of them are a grid of 1 / 10,000."""
    errors = published_alexnet()
    assert set(errors) == {None, *COMMON}
    images = 2000
    wrong = {name: round(error * images * (5 if name else 1)) for name, error in errors.items()}
    study = Corrupted(tmp_path, images, {"alexnet": wrong}, ALL_FIVE, "n0000000{}")
    [row] = found(study, "FROM mce")
    assert row["mce"] == pytest.approx(100, abs=0.01)
    assert row["relative_mce"] == pytest.approx(100, abs=0.2)
    assert (row["corruptions"], row["normaliser"]) == (15, "AlexNet, published")


def test_errors_are_what_a_hand_computes(tmp_path):
    """Ten images. Model a is wrong on 1 untouched one and on 10 of 50 in fog, 20 of 50 in snow; model b on 2,
    and on 15 and 25 of 50. No class is one of ImageNet, so a is the normaliser."""
    wrong = {"a": {None: 1, "fog": 10, "snow": 20}, "b": {None: 2, "fog": 15, "snow": 25}}
    study = Corrupted(tmp_path, 10, wrong, ALL_FIVE)
    rows = {(row["model"], row["corruption"]): row for row in found(study, "FROM corruptions")}
    fog, snow = rows["b", "fog"], rows["b", "snow"]
    assert (fog["error"], snow["error"], fog["clean_error"]) == pytest.approx((0.3, 0.5, 0.2))
    assert (fog["ce"], snow["ce"]) == pytest.approx((150, 125))
    assert fog["relative_ce"] == pytest.approx(100 * (0.3 - 0.2) / (0.2 - 0.1))
    assert snow["relative_ce"] == pytest.approx(100 * (0.5 - 0.2) / (0.4 - 0.1))
    assert {row["normaliser"] for row in rows.values()} == {"a, of this run"}
    # three images are wrong at all severities, seven at none
    margin = 1.959963984540054 * np.std([1] * 3 + [0] * 7, ddof=1) / np.sqrt(10)
    assert (fog["low"], fog["high"]) == pytest.approx((0.3 - margin, 0.3 + margin))
    means = {
        row["model"]: row
        for row in warehouse.query(study.folder / "warehouse.duckdb", "FROM mce").to_pylist()
    }
    assert means["b"]["mean_ce"] == pytest.approx((150 + 125) / 2) and means["b"]["corruptions"] == 2
    assert means["a"]["mean_ce"] == pytest.approx(100)
    assert means["b"]["mean_relative_ce"] == pytest.approx(100)
    assert means["b"]["mean_error"] == pytest.approx(0.4)
    assert means["a"]["mce"] is None and means["a"]["relative_mce"] is None


def test_extra_corruptions_are_not_in_the_mean(tmp_path):
    wrong = {"a": {None: 1} | dict.fromkeys(corrupt.VARIANTS, 10)}
    wrong["b"] = {None: 1} | dict.fromkeys(COMMON, 20) | dict.fromkeys(corrupt.VARIANTS[15:], 40)
    study = Corrupted(tmp_path, 10, wrong, ALL_FIVE)
    rows = {row["model"]: row for row in found(study, "FROM mce")}
    assert rows["b"]["mce"] == pytest.approx(200) and rows["b"]["corruptions"] == 15
    extra = warehouse.query(
        study.folder / "warehouse.duckdb", "FROM corruptions WHERE NOT common"
    ).to_pylist()
    assert [row["corruption"] for row in extra if row["model"] == "b"] == corrupt.VARIANTS[15:]
    assert {row["ce"] for row in extra if row["model"] == "b"} == {400}


@pytest.mark.parametrize("class_name", ["class{}", "n0000000{}"])
def test_some_severities_are_no_mce(tmp_path, class_name):
    study = Corrupted(tmp_path, 10, {"a": {None: 1} | dict.fromkeys(COMMON, 9)}, [1, 3, 5], class_name)
    [row] = found(study, "FROM mce")
    assert row["mce"] is None and row["relative_mce"] is None
    # AlexNet's are known over all five only; a model of the run has the same severities
    assert row["mean_ce"] == (None if class_name.startswith("n") else pytest.approx(100))
    assert row["mean_error"] == pytest.approx(0.3)


def test_a_normaliser_without_errors_gives_no_ce(tmp_path):
    wrong = {"a": {None: 0, "fog": 0, "snow": 5}, "b": {None: 0, "fog": 5, "snow": 5}}
    rows = {
        (row["model"], row["corruption"]): row
        for row in found(Corrupted(tmp_path, 10, wrong, ALL_FIVE), "FROM corruptions")
    }
    assert rows["b", "fog"]["ce"] is None and rows["b", "snow"]["ce"] == pytest.approx(100)


def test_without_corruptions_the_tables_are_empty(tmp_path):
    study = Study(tmp_path)
    assert found(study, "FROM corruptions") == []
    assert warehouse.query(tmp_path / "warehouse.duckdb", "FROM mce").to_pylist() == []


def words(path):
    """All that is written in the chart of corruption errors."""
    figure = runpy.run_path(ROOT / "reports/figures/corruption_error.py")
    chart = figure["chart"](warehouse.query(path, figure["SQL"]))
    return vl_convert.vegalite_to_svg(theme.specification(chart, ""))


def test_the_chart_of_errors_has_published_models_beside_those_of_imagenet_alone(tmp_path):
    for folder, class_name in [("imagenet", "n0000000{}"), ("shapes", "class{}")]:
        wrong = {"mine": {None: 1} | dict.fromkeys(COMMON, 20)}
        (tmp_path / folder).mkdir()
        drawn = words(Corrupted(tmp_path / folder, 10, wrong, ALL_FIVE, class_name).build())
        assert "mine" in drawn and "mCE" in drawn and "gaussian noise" in drawn
        assert ("DeiT-S (published)" in drawn) == ("AlexNet, published" in drawn) == (folder == "imagenet")


def test_the_chart_of_errors_can_be_empty(tmp_path):
    assert "Corruption error" in words(Study(tmp_path).build())


def test_the_marts_know_the_corruptions(tmp_path):
    listed = found(Study(tmp_path), "FROM imagenet_c ORDER BY rank")
    assert [row["corruption"] for row in listed] == corrupt.VARIANTS
    assert [row["corruption"] for row in listed if row["common"]] == COMMON
