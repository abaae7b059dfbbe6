"""What strips are expected to take, against sums by hand; and that planning by it reruns nothing."""

import json
import re
import shutil
import statistics
from types import SimpleNamespace

import pytest
import torch

from conftest import PERTURBATIONS, ROOT
from patchwork import costs
from patchwork.catalogue import catalogue, variants

CATALOGUE = variants(catalogue(PERTURBATIONS))
MODELS = {
    "small": {"timm": "resnet18", "weights": "random"},
    "twin": {"timm": "resnet18", "weights": "other.safetensors", "family": "cnn"},
    "large": {"timm": "resnet50"},
    "third": {"timm": "vit_tiny_patch16_224", "options": {"img_size": 64}},
    "new": {"timm": "resnet34"},
}
COMPUTE = {"device": "cuda", "dtype": "float32"}


def measured(model, name, passes, seconds, dataset="set", **other):
    """What a job that computed a strip has left: the names of its file, and what is in it."""
    told = {"network": costs.network(MODELS[model]), "device": "cuda", "dtype": "float32", "threads": 1}
    return (dataset, model, *name.split("/")), told | {"passes": passes, "seconds": seconds} | other


def rates(*notes, **compute):
    return costs.Rates(notes, compute.pop("device", "cuda"), COMPUTE | compute, CATALOGUE, MODELS)


def strip(model, name, dataset="set"):
    perturbation, variant = name.split("/")
    return {"dataset": dataset, "model": model, "perturbation": perturbation, "variant": variant}


def test_a_strip_takes_what_it_took():
    known = rates(
        measured("small", "pixel_drop/plain", 1000, 10),
        measured("small", "pixel_drop/plain", 3000, 90, dataset="other"),
    )
    assert known.seconds(strip("small", "pixel_drop/plain")) == 0.01
    assert known.seconds(strip("small", "pixel_drop/plain", "other")) == 0.03
    assert known.seconds(strip("small", "pixel_drop/plain", "new")) == 100 / 4000
    assert known.seconds(strip("twin", "pixel_drop/plain")) == 0.01  # the same network


def test_shards_of_a_strip_are_added_up():
    parts = [measured("small", "pgd/plain", 100, seconds) for seconds in (1, 2, 6)]
    notes = [((*names, f"{shard}-3"), told) for shard, (names, told) in enumerate(parts)]
    assert rates(*notes).seconds(strip("small", "pgd/plain")) == 9 / 300


def test_what_perturbing_adds_is_added_and_what_gradients_take_is_multiplied():
    known = rates(
        measured("small", "clean/plain", 1000, 1),
        measured("large", "clean/plain", 1000, 4),
        measured("large", "corrupt/fog", 1000, 6),
        measured("large", "pgd/plain", 1000, 48),
    )
    assert known.seconds(strip("small", "corrupt/fog")) == pytest.approx(0.001 + 0.002)
    assert known.seconds(strip("small", "pgd/plain")) == pytest.approx(0.001 * 12)
    assert known.seconds(strip("small", "random_drop/14x14")) == pytest.approx(0.001)
    # Five steps of a gradient, each two passes, under four of five levels, and the pass itself.
    assert rates(measured("small", "clean/plain", 1000, 1)).seconds(strip("small", "pgd/plain")) == (
        pytest.approx(0.001 * (1 + 5 * 2 * 4 / 5))
    )


def test_of_several_networks_the_median_tells_what_a_perturbation_adds():
    took = {"small": 3, "large": 9, "third": 4}
    notes = [measured(model, "corrupt/fog", 1000, seconds) for model, seconds in took.items()]
    notes += [measured(model, "clean/plain", 1000, 1) for model in took]
    known = rates(*notes, measured("new", "clean/plain", 1000, 2))
    assert known.seconds(strip("new", "corrupt/fog")) == pytest.approx(
        0.002 + statistics.median([2, 8, 3]) / 1000
    )


def test_what_another_device_or_dtype_took_tells_nothing():
    notes = [
        measured("small", "clean/plain", 10, 1, device="cpu"),
        measured("small", "clean/plain", 10, 1, dtype="bfloat16"),
    ]
    assert rates(*notes).seconds(strip("small", "clean/plain")) == 0
    assert not rates(*notes).measured("small")
    four = measured("small", "clean/plain", 10, 1, device="cpu", threads=4)
    assert rates(four, device="cpu").seconds(strip("small", "clean/plain")) == 0.4  # of one thread


def test_operations_count_where_nothing_was_measured(tmp_path):
    known = rates(measured("large", "clean/plain", 1000, 4), teraflops=2)
    shipped, cache = tmp_path / "shipped.json", tmp_path / "operations.json"
    shipped.write_text(json.dumps({costs.network(MODELS["third"]): 7e9}))  # is not counted
    known.count(["small", "large", "third"], shipped, cache, ROOT / "scripts")
    # Of ResNet-18 1.814e9 multiplications with an addition each, as its authors and others count them.
    resnet = known.operations[costs.network(MODELS["small"])]
    assert resnet == pytest.approx(2 * 1.814e9, rel=1e-3)
    assert known.operations[costs.network(MODELS["third"])] == 7e9
    assert costs.network(MODELS["large"]) not in known.operations
    assert known.seconds(strip("small", "clean/plain")) == pytest.approx(resnet / 2e12)
    assert known.seconds(strip("large", "clean/plain")) == 0.004
    cache.write_text(json.dumps({network: 1e12 for network in known.operations}))  # is not counted again
    known.count(["small", "third"], shipped, cache, tmp_path / "nowhere")
    assert known.seconds(strip("twin", "clean/plain")) == 0.5


def test_gradients_of_attacks():
    found = {
        name: costs.gradients(CATALOGUE[f"{name}/plain"]) for name in ("fgsm", "pgd", "apgd_ce", "apgd_t")
    }
    assert found == {"fgsm": 1, "pgd": 5, "apgd_ce": 100, "apgd_t": 900}
    assert costs.gradients(CATALOGUE["clean/plain"]) == 0
    assert costs.gradients(CATALOGUE["pgd/plain"] | {"settings": {"steps": 20, "step_share": 0.1}}) == 20


@pytest.mark.parametrize(
    ("minutes", "most", "jobs"), [(0, 9, 1), (59, 9, 1), (61, 9, 2), (400, 99, 10), (400, 3, 3), (400, 0, 1)]
)
def test_jobs_of_a_strip_take_about_the_wanted_time(minutes, most, jobs):
    assert costs.shards(minutes * 60, 40 * 60, most) == jobs


def test_batches_end_near_the_wanted_time():
    strips = dict(zip("abcdefg", [10, 20, 30, 100, 5, 40, 1], strict=True))
    found = costs.batches(strips, 50, start_seconds=0)
    assert found == [["a", "b", "c"], ["d"], ["e", "f", "g"]]
    assert costs.batches(dict.fromkeys("abcd", 0), 30, start_seconds=10) == [["a", "b", "c"], ["d"]]
    assert costs.batches({}, 30) == []


def test_a_job_that_computed_nothing_keeps_what_an_earlier_one_measured(tmp_path):
    path = tmp_path / "set/small/clean/plain.json"
    told = {"passes": 20, "seconds": 2.0, "model": SimpleNamespace(size=(32, 32), grid=(4, 4))}
    strip = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, **told)
    costs.note(path, strip, MODELS["small"], 1, origin="old", cells=[[0, 0]])
    strip.passes, strip.seconds = 0, 0.0
    costs.note(path, strip, MODELS["small"], 1, origin="new", cells=[[0, 0], [1, 0]])
    [(names, told)] = costs.notes(tmp_path)
    assert names == ("set", "small", "clean", "plain")
    assert (told["passes"], told["seconds"], told["dtype"]) == (20, 2.0, "float32")
    assert (told["origin"], told["cells"]) == ("new", [[0, 0], [1, 0]])
    assert (told["input_pixels"], told["grid"]) == ([32, 32], [4, 4])


# ---- planned by Snakemake ----

TARGET = "results/predictions/shapes/vit/random_drop/4x4.parquet"
COST = "results/costs/shapes/vit/random_drop/4x4.json"


def slow(project, seconds):
    """As if the strip had taken so long."""
    told = json.loads(project.path(COST).read_text())
    project.path(COST).write_text(json.dumps(told | {"seconds": seconds}))


def left(project):
    """Strips that are left, of each study, as the table of a dry run tells them."""
    told = project.run("--dry-run").split("expected ")[1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +\d+ +(\d+) ", told, re.M)}


def test_a_long_strip_is_computed_by_several_jobs_to_the_same_bytes(project):
    project.edit("config.yaml", "seeds:", "compute: {batch_images: 4}\nseeds:")
    shutil.rmtree(project.path("results/cells"))
    project.run(TARGET)
    before = project.path(TARGET).read_bytes()

    shutil.rmtree(project.path("results/cells"))
    project.path(TARGET).unlink()
    slow(project, 3 * 40 * 60)
    told = project.run(TARGET)
    assert re.search(r"^predict_shard +3$", told, re.M)
    logs = sorted(project.path("logs/predict_shard/shapes/vit/random_drop/4x4").glob("*.log"))
    assert [log.stem for log in logs] == ["0-3", "1-3", "2-3"]
    assert all("5 of 5 cells to compute" in log.read_text() for log in logs)
    assert "images/s" not in project.path("logs/predict/shapes/vit/random_drop/4x4.log").read_text()
    assert project.path(TARGET).read_bytes() == before
    assert not [*project.path("results/shards").rglob("*.txt")]
    assert not [*project.path("results/cells").rglob("part-*")]

    for seconds in (1, 9 * 40 * 60):  # whatever is measured later
        slow(project, seconds)
        assert "Nothing to be done" in project.run("--dry-run", TARGET)


def test_a_dry_run_tells_what_is_left(project):
    assert set(left(project).values()) == {0}
    project.edit("config.yaml", "[0, 0.5, 0.9]", "[0, 0.25, 0.5, 0.9]")
    project.path("results/predictions/shapes/vit/shuffle_grid/plain.parquet").unlink()
    assert left(project) == {
        **{"occlusion": 2, "permutation": 1, "saliency": 0, "patches": 0, "bias": 0},
        **{"tokens": 0, "objects": 0, "elsewhere": 0, "trainings": 0, "together": 3},
    }
    # A strip of 100 passes took two hours; two cells of 20 images are new, the others in the store.
    slow(project, 2 * 3600)
    told = project.run("--dry-run")
    assert re.search(r"^occlusion +2 +2 +280 +2\.8 +0\.8$", told, re.M), told
    # A training of two stages of one epoch each, of 40 images, has lost the second; another is in one stage.
    project.path("results/checkpoints/vit/2.pt").unlink()
    # Two networks with four measures, one of which passes an image seven times, one twice, and two once.
    told = project.run("--dry-run")
    assert re.search(r"^tokens +8 +0 +440 ", told, re.M), told
    assert re.search(r"^elsewhere +4 +0 +120 ", told, re.M), told
    assert re.search(r"^trainings +3 +1 +480 ", told, re.M), told
    assert "3 of 4 models were measured" in told


def test_how_jobs_are_cut_is_no_parameter(project):
    project.edit("config.yaml", "seeds:", "compute: {job_minutes: 1, teraflops: 3}\nseeds:")
    slow(project, 3600)
    assert project.plan() == {"write_report": 1}  # which tells the config


def test_an_index_that_is_damaged_is_named_when_images_are_counted(project):
    project.path("results/images/shapes.parquet").write_bytes(b"")
    told = project.run("--dry-run", check=False)
    assert "results/images/shapes.parquet is damaged: delete it and run again" in told
