"""What linear readouts of frozen features show: marts and findings of made-up probes."""

import csv
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from conftest import ROOT, Project
from patchwork import tables
from test_findings import Results, conflict, decide, rows
from test_patches import image_folder

IMAGES = 200


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path)
    results.dataset("conflict", *conflict())
    for model in ("vit", "cnn"):  # the first is the reference
        results.strip("conflict", model, decide(300, 60))
    return results


def right(count):
    """Decisions of which the first `count` are right."""
    return np.arange(IMAGES) < count


def readout(blocks, patch, correct, protocol="validated", block=None, width=64, classes=10, last_top1=None):
    told = {"protocol": protocol, "blocks": blocks, "block": block, "patch": patch, "width": width}
    told |= {"parameters": (width + 1) * classes, "classes": classes, "correct": correct.tolist()}
    told |= {"top1": correct.mean(), "last_top1": last_top1, "images": IMAGES, "train_images": 1000}
    return told


def probed(results, transfer, model, readouts):
    """What a config asks for, with a file of these rows."""
    file = results.folder / f"readouts/{transfer}/{model}/probe.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(readouts, tables.PROBES), file)
    return {"dataset": transfer, "model": model, "measure": "probe", "model_family": "net", "file": file}


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


def found(results, measures):
    """{(claim, about): (verdict, numbers)} of the findings."""
    path = results.build(measures=measures)
    return {
        (row["claim"], row["about"]): (row["verdict"], row["numbers"])
        for row in rows(path, "FROM findings")
        if "transfer" in row["claim"] or "patch token" in row["claim"] or "Batch" in row["claim"]
    }


@pytest.mark.parametrize(("more", "verdict"), [(30, "yes"), (-30, "no"), (2, "cannot tell")])
def test_readouts_are_compared_with_the_last_block(results, more, verdict):
    readouts = [readout("last", "none", right(100)), readout("last", "last", right(100 + more))]
    readouts += [readout("last4", "none", right(100 + more)), readout("all", "each", right(100 - more))]
    assert found(results, [probed(results, "birds", "cnn", readouts)]) == {
        (
            "Class tokens of several blocks transfer better than the last alone",
            "last 4 blocks of cnn on birds",
        ): (verdict, numbers(100 + more, 100)),
        (
            "The mean patch token adds to the class token of the last block",
            "last block + last patch mean of cnn on birds",
        ): (verdict, numbers(100 + more, 100)),
    }


def numbers(won, other):
    """What a finding tells of so many right decisions, where all of the fewer are among the more."""
    apart = np.concatenate(
        [np.full(abs(won - other), np.sign(won - other)), np.zeros(IMAGES - abs(won - other))]
    )
    more = np.append(apart, [1, -1])
    margin = 1.959964 * more.std() / np.sqrt(len(more))
    told = f"{apart.mean():.2f} ({more.mean() - margin:.2f} to {more.mean() + margin:.2f})"
    return f"top-1 {won / IMAGES:.2f} against {other / IMAGES:.2f}, difference {told}; {IMAGES} test images"


@pytest.mark.parametrize(("more", "verdict"), [(30, "yes"), (-30, "no"), (2, "cannot tell")])
def test_models_are_compared_with_the_reference(results, more, verdict):
    measures = [
        probed(results, "birds", "vit", [readout("last", "none", right(100))]),
        probed(results, "birds", "cnn", [readout("last", "none", right(100 + more))]),
        probed(results, "cars", "cnn", [readout("last", "none", right(100))]),  # nothing to compare with
    ]
    claim = "Features transfer better than those of the reference"
    assert found(results, measures) == {
        (claim, "cnn against vit on birds"): (verdict, numbers(100 + more, 100))
    }


@pytest.mark.parametrize(("apart", "verdict"), [(0.1, "yes"), (-0.1, "no"), (0, "cannot tell")])
def test_episodes_are_compared_with_those_of_the_reference(results, apart, verdict):
    noise = np.random.default_rng(0).normal(0, 0.05, 60)
    measures = []
    for model, accuracies in (("vit", np.full(60, 0.5)), ("cnn", 0.5 + apart + noise - noise.mean())):
        told = {"setting": "5-way 1-shot", "seed": 0, "ways": 5, "supports": 5, "queries": 75}
        episodes = [
            told | {"readout": readout, "classifier": classifier, "episode": n, "accuracy": accuracy + more}
            for n, accuracy in enumerate(accuracies)
            for readout, classifier, more in [("last", "logistic", 0), ("last", "centroid", -0.2)]
        ]
        file = results.folder / f"readouts/birds/{model}/few_shot.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(episodes, tables.FEW_SHOTS), file)
        asked = {"dataset": "birds", "model": model, "measure": "few_shot", "model_family": "net"}
        measures.append(asked | {"file": file})
    found = rows(results.build(measures=measures), "FROM findings WHERE claim LIKE 'From a few images%'")
    margin = 1.959964 * noise.std(ddof=1) / np.sqrt(60)
    [row] = found
    assert (row["about"], row["verdict"]) == ("cnn against vit on birds, 5-way 1-shot", verdict)
    assert row["numbers"].startswith(f"accuracy {0.5 + apart:.2f} against 0.50, difference ")
    assert row["numbers"].endswith(f"({apart - margin:.2f} to {apart + margin:.2f}); 60 episodes")


@pytest.mark.parametrize(("batch", "verdict"), [(20, "yes"), (180, "no"), (98, "cannot tell")])
def test_batch_statistics_are_compared_with_a_networks_own(results, batch, verdict):
    readouts = [readout("last", "none", right(100), "authors")]
    readouts += [readout("last", "none", right(batch), "authors, batch statistics")]
    [(key, (told, text))] = found(results, [probed(results, "birds", "cnn", readouts)]).items()
    assert key[1] == "cnn on birds"
    assert told == verdict
    assert text.startswith(f"top-1 {batch / IMAGES:.2f} (")


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
