"""What jobs took, told by files as Snakemake and jobs leave them; what models are, told by their weights."""

import json
import os
import re

import pytest
import timm

from patchwork import models, networks, recorded, warehouse
from patchwork.report import cards, coverage, expenses
from test_warehouse import IMAGES, Study

STRIP = {"dataset": "shapes", "model": "vit", "perturbation": "random_drop", "variant": "4x4"}
PASSES = IMAGES * 7  # of the strips of a Study: an untouched level, and two with three seeds


def record(folder, seconds, **more):
    """The files of a job that took so long, as it is told to `recorded.jobs`."""
    benchmark = folder / "benchmarks/job.jsonl"
    benchmark.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(json.dumps({"s": seconds, "cpu_time": 0.5, "max_rss": 300.0, "io_in": "NA"}) + "\n")
    return {"benchmark": str(benchmark), "log": str(folder / "logs/job.log"), **more}


def strip(folder, seconds, passes=None, computing=None):
    """The same of a strip, that has left what it computed."""
    cost = folder / "costs/4x4.json"
    cost.parent.mkdir(parents=True, exist_ok=True)
    if passes is not None:
        cost.write_text(json.dumps({"passes": passes, "seconds": computing, "device": "cpu"}))
    shards = {"cost": str(cost), "shard_benchmarks": str(folder / "benchmarks/shards")}
    return record(folder, seconds, rule="predict", study="occlusion", **STRIP, **shards)


def shard(folder, name, passes, seconds):
    file = folder / f"costs/4x4/{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"passes": passes, "seconds": seconds}))
    benchmark = folder / f"benchmarks/shards/{name}.jsonl"
    benchmark.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(json.dumps({"s": seconds + 1, "cpu_time": seconds, "max_rss": 100.0}))


def costs(folder, *jobs):
    """The rows of `costs` of a made-up study with these jobs."""
    return warehouse.query(Study(folder).build(jobs=jobs), "FROM costs").to_pylist()


def test_a_strip_that_one_job_has_computed(tmp_path):
    [row] = costs(tmp_path, strip(tmp_path, 5.0, PASSES, 4.0))
    assert (row["seconds"], row["cpu_seconds"], row["memory_mb"]) == (5, 0.5, 300)
    assert row["images_per_second"] == PASSES / 4
    assert row["note"] is None
    assert (row["study"], row["rule"], row["variant"]) == ("occlusion", "predict", "4x4")


@pytest.mark.parametrize(
    ("passes", "computing", "note"),
    [
        (PASSES, 60.0, "all was stored; time of when it was computed"),
        (PASSES - IMAGES, 4.0, f"{PASSES - IMAGES} of {PASSES} passes; the others were stored"),
        (None, None, "computing is not recorded"),
    ],
)
def test_a_strip_that_was_resumed_or_taken_from_the_store_says_so(tmp_path, passes, computing, note):
    [row] = costs(tmp_path, strip(tmp_path, 5.0, passes, computing))
    assert row["note"] == note
    assert row["seconds"] == max(5.0, computing or 0)
    assert (row["cpu_seconds"] is None) == ((computing or 0) > 5)


def test_shards_count_if_they_are_of_the_cells_that_are_shown(tmp_path):
    for number, name in enumerate(["0-2", "1-2"]):
        shard(tmp_path, name, PASSES / 2 - number * 0, 10.0)
    job = strip(tmp_path, 1.0)
    rows = costs(tmp_path, job)
    assert [(row["rule"], row["part"], row["seconds"]) for row in rows] == [
        ("predict", None, 1.0),
        ("predict_shard", "0-2", 11.0),
        ("predict_shard", "1-2", 11.0),
    ]
    assert {row["note"] for row in rows} == {None}
    # A later job has computed all of it by itself.
    other = tmp_path / "other"
    other.mkdir()
    assert [row["rule"] for row in costs(other, strip(tmp_path, 5.0, PASSES, 4.0))] == ["predict"]


def test_only_the_last_cut_into_shards_counts(tmp_path):
    for age, name in enumerate(["1-2", "0-3", "1-3", "2-3"]):
        shard(tmp_path, name, 10, 1.0)
        os.utime(tmp_path / f"costs/4x4/{name}.json", (age, age))
    assert [found["part"] for found in recorded.shards(strip(tmp_path, 1.0))] == ["0-3", "1-3", "2-3"]


def test_a_job_of_which_nothing_is_there_is_not_recorded(tmp_path):
    lost = {"rule": "measure", "benchmark": str(tmp_path / "no.jsonl"), "log": str(tmp_path / "no.log")}
    [row] = costs(tmp_path, lost)
    assert (row["seconds"], row["note"], row["device"]) == (None, "not recorded", None)
    [together] = warehouse.query(
        tmp_path / "warehouse.duckdb", "FROM cost_totals WHERE per = 'all'"
    ).to_pylist()
    assert (together["jobs"], together["recorded"], together["hours"]) == (1, 0, 0)
    assert "of 1 nothing is recorded" in expenses.expenses([together], [row])


def test_logs_tell_the_device_and_where_a_result_was_copied_from(tmp_path):
    job = record(tmp_path, 7.0, rule="measure", model="vit")
    log = tmp_path / "logs/job.log"
    log.parent.mkdir()
    log.write_text("2026-01-01 computed on cuda\n")
    [row] = costs(tmp_path, job)
    assert (row["device"], row["seconds"], row["note"]) == ("cuda", 7, None)
    log.write_text("2026-01-01 taken from ../other, which has made it in the same way\n")
    [row] = costs(tmp_path / "copied", job)
    assert (row["device"], row["seconds"], row["note"]) == (None, None, "copied from ../other")


def test_hours_add_up(tmp_path):
    jobs = [strip(tmp_path, 3600.0, PASSES, 3000.0)]
    for number, device in enumerate(["cuda", "cpu", None]):
        folder = tmp_path / str(number)
        jobs.append(record(folder, 1800.0, rule="train_stage", model="vit", run="vit", device=device))
    path = Study(tmp_path).build(jobs=jobs)
    totals = {(row["per"], row["name"]): row for row in warehouse.query(path, "FROM cost_totals").to_pylist()}
    assert totals["all", "together"]["hours"] == 2.5
    assert totals["rule", "train_stage"]["gpu_hours"] == totals["rule", "train_stage"]["unknown_hours"] == 0.5
    assert totals["study", "occlusion"]["hours"] == 1 and totals["study", "(shared)"]["hours"] == 1.5
    assert totals["family", "occlusion"]["hours"] == 1 and totals["family", "training"]["hours"] == 1.5
    assert totals["all", "together"]["dearest"] == "predict shapes vit random_drop 4x4"
    assert totals["all", "together"]["cpu_hours"] == pytest.approx(2 / 3600)


@pytest.mark.parametrize("entry", [{"timm": "test_vit"}, {"timm": "test_resnet"}])
def test_parameters_are_those_that_the_network_itself_counts(tmp_path, entry):
    net = timm.create_model(entry["timm"], num_classes=7)
    models.save(tmp_path / "weights.safetensors", net.state_dict())
    told = networks.weights(tmp_path / "weights.safetensors")
    assert told["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    patches = getattr(net, "patch_embed", None)
    assert told["patch_pixels"] == (list(patches.patch_size) if patches else None)
    [row] = networks.networks(
        [entry | {"file": tmp_path / "weights.safetensors", "model": "m"}], []
    ).to_pylist()
    assert row["input_pixels"] is None and row["grid"] is None and row["sha256"] is None
    models.save(tmp_path / "weights.safetensors", net.state_dict(), sha256="ab" * 32)
    assert networks.weights(tmp_path / "weights.safetensors") == told | {"sha256": "ab" * 32}


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        networks.weights(tmp_path / "weights.safetensors")


# ---- what the page tells of it ----


def test_coverage_tells_every_state_in_words(tmp_path):
    study = Study(tmp_path)
    cells = study.strips["cnn/random_drop/4x4"]
    study.strips["cnn/random_drop/4x4"], study.refused["cnn/random_drop/4x4"] = (
        cells[:1],
        [[0.1, "has no tokens"], [0.5, "has no tokens"]],
    )
    study.strips["vit/random_drop/4x4"] = study.strips["vit/random_drop/4x4"][:4]
    study.refused["vit/random_drop/4x4"] = [[0.5, "has few tokens"]]
    lost = {
        "kind": "predict",
        "dataset": "shapes",
        "model": "vit",
        "perturbation": "fgsm",
        "variant": "plain",
    }
    rows = warehouse.query(study.build(absent=[lost]), "FROM coverage").to_pylist()
    assert {(row["model"], row["what"]): coverage.told(row) for row in rows} == {
        ("cnn", "random drop, 4x4 grid"): "n/a",
        ("vit", "random drop, 4x4 grid"): "4 of 4, 1 levels n/a",
        ("cnn", "shuffle grid"): "4 of 4",
        ("vit", "shuffle grid"): "4 of 4",
        ("vit", "fgsm"): "missing",
    }
    text = coverage.coverage(rows)
    assert "shapes: 3 done, 1 not applicable, 1 missing" in text and " open>" in text
    assert text.count("<td>-</td>") == 1  # nobody asked for fgsm of the CNN


def test_a_card_has_facts_numbers_and_curves():
    network = {"model": "<vit>", "timm": "test_vit", "parameters": 1234567, "family": "vit", "options": "{}"}
    network |= {"input_pixels": [64, 64], "patch_pixels": [8, 8], "grid": [8, 8], "weights": "trained here"}
    network |= {"digest": "abc", "sha256": "def", "run": "vit", "head": None}
    number = {"model": "<vit>", "headline": "top-1", "dataset": "shapes", "unit": "share", "value": 0.5}
    number |= {"low": 0.4, "high": 0.6, "counted": 1000}
    training = {"model": "<vit>", "data": "train", "recipe": "deit", "teacher": "cnn"}
    curve = [{"model": "<vit>", "curve": "over tiles", "x": x, "y": y} for x, y in [(0, 1.0), (2, 0.0)]]
    text = cards.cards([network], [training], [{"run": "vit", "epoch": 3}], [number], curve)
    assert "&lt;vit&gt;: test_vit, 1,234,567 parameters" in text and "<vit>" not in text
    facts = [("tokens", "8 x 8"), ("teacher", "cnn"), ("epochs", "3"), ("trained on", "train")]
    for key, value in [*facts, ("sha256", "def")]:
        assert f"<dt>{key}</dt><dd>{value}</dd>" in text
    assert '<td class="number">50.0%</td><td class="number">40.0% to 60.0%</td>' in text
    assert 'aria-label="over tiles: 100% at 0, 0% at 2"' in text
    [points] = re.findall(r'polyline points="([^"]+)"', text)
    left, right = (tuple(map(float, point.split(","))) for point in points.split())
    assert left == (cards.MARGIN, cards.MARGIN)
    assert right == (cards.WIDTH - cards.MARGIN, cards.HEIGHT - cards.MARGIN)


def test_what_was_not_recorded_is_said_to_be_so():
    network = {
        "family": "cnn",
        "options": "{}",
        "weights": "timm's hub",
        "digest": "abc",
        "sha256": None,
        "head": None,
    }
    network |= {"input_pixels": None, "patch_pixels": None, "grid": None}
    assert cards.what_it_is(network)["input"] == "not recorded"
