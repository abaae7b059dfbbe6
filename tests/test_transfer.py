"""What linear readouts of frozen features show: marts of made-up probes."""

import csv
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from conftest import ROOT, Project
from made_up import Results, conflict, decide, probed, readout, right, rows
from test_patches import image_folder

IMAGES = 200


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path)
    results.dataset("conflict", *conflict())
    for model in ("vit", "cnn"):  # the first is the reference
        results.strip("conflict", model, decide(300, 60))
    return results


def test_a_score_has_the_interval_of_its_images(results):
    path = results.build(
        measures=[probed(results, "birds", "vit", [readout("block", "each", right(150), block=3, width=128)])]
    )
    [row] = rows(path, "FROM transfer_scores")
    assert (row["dataset"], row["readout"], row["chance"]) == ("birds", "block 3 + patch means", 0.1)
    assert (row["width"], row["parameters"], row["images"]) == (128, 1290, IMAGES)
    wilson = binomtest(150, IMAGES).proportion_ci(method="wilson")
    assert (row["top1"], row["low"], row["high"]) == pytest.approx((0.75, wilson.low, wilson.high))


def test_a_gain_is_over_the_last_block_image_by_image(results):
    random = np.random.default_rng(0)
    last, all_blocks = random.random(IMAGES) < 0.6, random.random(IMAGES) < 0.7
    readouts = [readout("last", "none", last), readout("all", "each", all_blocks)]
    readouts += [readout("last", "none", right(3), "authors"), readout("all", "each", right(5), "authors")]
    path = results.build(measures=[probed(results, "birds", "vit", readouts)])
    found = {row["protocol"]: row for row in rows(path, "FROM transfer_gains")}
    assert found["authors"]["gain"] == pytest.approx(2 / IMAGES)
    row, apart = found["validated"], all_blocks.astype(int) - last
    assert (row["blocks"], row["patch"], row["images"]) == ("all", "each", IMAGES)
    assert (row["top1"], row["other_top1"]) == (all_blocks.mean(), last.mean())
    assert row["gain"] == pytest.approx(apart.mean())
    # Bonett and Price: as if there were two more images, one won and one lost.
    more = np.append(apart, [1, -1])
    assert (row["low"] + row["high"]) / 2 == pytest.approx(more.mean())
    assert row["high"] - row["low"] == pytest.approx(2 * 1.959964 * more.std() / np.sqrt(len(more)))


def test_published_numbers_stand_beside_datasets_of_their_name_and_classes(results):
    measures = [
        probed(results, "cub", "vit", [readout("last", "none", right(100), classes=200)]),
        probed(results, "aircraft", "vit", [readout("last", "none", right(100), classes=7)]),
        probed(results, "birds", "vit", [readout("last", "none", right(100), classes=200)]),
    ]
    found = rows(results.build(measures=measures), "FROM transfer_published")
    assert {row["dataset"] for row in found} == {"cub"}
    told = {(row["model"], row["blocks"], row["patch"], row["source"]): row["top1"] for row in found}
    assert told == pytest.approx(
        {
            ("DeiT-S", "last", "none", "table 5 of the paper"): 0.6816,
            ("DeiT-S", "last", "last", "table 5 of the paper"): 0.7066,
            ("DeiT-S", "all", "none", "table 5 of the paper"): 0.7290,
            ("DeiT-S", "all", "last", "table 5 of the paper"): 0.7316,
            ("DeiT-S", "last4", "none", "table 5 of the paper"): 0.7358,
            ("DeiT-S", "last4", "last", "table 5 of the paper"): 0.7337,
            ("ResNet50", "last", "none", "figure 16 of the paper"): 0.413,
            ("DeiT-T", "last", "none", "figure 16 of the paper"): 0.627,
            ("DeiT-S", "last", "none", "figure 16 of the paper"): 0.680,
            ("DeiT-S", "last4", "none", "figure 16 of the paper"): 0.735,
        }
    )


def test_every_dataset_of_the_paper_can_be_compared(results):
    with open(ROOT / "reports/published.csv", newline="") as opened:
        published = [row for row in csv.DictReader(opened) if row["experiment"].startswith("off_the_shelf")]
    classes = {"aircraft": 100, "cub": 200, "dtd": 47, "flowers102": 102, "fungi": 1394, "gtsrb": 43}
    classes |= {"inaturalist2019": 1010, "places365": 365}
    measures = [
        probed(results, name, "vit", [readout("last", "none", right(100), classes=count)])
        for name, count in classes.items()
    ]
    assert len(rows(results.build(measures=measures), "FROM transfer_published")) == len(published) == 46


CONFIG = """
datasets:
  train: {root: train}
  test:  {root: test}
pixels: {resize: 32, crop: 32, interpolation: bilinear}
models:
  vit: {family: vit, timm: test_vit, options: {img_size: 32, patch_size: 8}, weights: random}
transfers: {birds: {train: train, test: test}}
few_shots: {birds: {data: test, ways: 2, shots: [1], queries: 2}}
studies:
  one: {transfers: birds, few_shots: birds, models: vit}
seeds: [0]
"""


def test_what_classes_lack_is_told_before_anything_runs(tmp_path):
    project = Project.create(tmp_path / "project")
    project.path("config.yaml").write_text(CONFIG)
    image_folder(project.path("train"), [f"{name}/{n}.png" for name in ("finch", "wren") for n in range(9)])
    image_folder(project.path("test"), ["finch/1.png", "finch/2.png", "jay/3.png", "jay/4.png", "jay/5.png"])
    told = project.run("--dry-run", check=False)
    assert "transfers.birds: the class 'jay' (2 such) is in one of test and train only" in told
    assert "few_shots.birds: test has 2 images of the class finch, and an episode takes 1" in told
    assert "Job stats" not in told
    image_folder(project.path("test"), ["finch/6.png", "wren/7.png", "wren/8.png", "wren/9.png"])
    shutil.rmtree(project.path("test/jay"))
    plan = project.plan()
    assert (plan["extract_tokens"], plan["probe"], plan["few_shot"]) == (2, 1, 1)
