"""Whole runs, minutes long: the embedded run, real photographs, and kills at random moments."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import duckdb
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import Project, make_room, save_random_weights
from patchwork import models

pytestmark = pytest.mark.slow

KILLS = [*["snakemake"] * 7, *["job"] * 7, *["both"] * 6]
WAREHOUSE = "results/warehouse.duckdb"


def jobs_of(process):
    children = process.children(recursive=True) if process.poll() is None else []
    return [child for child in children if is_job(child)]


def is_job(process):
    try:
        return ".snakemake/scripts/" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return False


def small_project(folder):
    """A project of a few jobs that ends with a warehouse, for runs that are killed."""
    project = Project.create(folder, "tests/kills.yaml")
    save_random_weights(project.path("cnn.safetensors"), {"timm": "test_resnet"}, 10)
    return project


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What such a project has computed if nothing went wrong."""
    project = small_project(tmp_path_factory.mktemp("whole") / "project")
    project.run(WAREHOUSE)
    return computed(project)


def computed(project):
    """The bytes of all that is computed, by path; of weights their digest, as safetensors has its header in
    any order. What tells of seconds is left out."""
    root = project.path("results")
    found = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for kind in ("images", "predictions", "measures")
        for path in (root / kind).rglob("*.*")
    }
    assert len(found) == 5
    weights = ("fetched/cnn", "trained/vit")
    return found | {name: models.load(root / f"weights/{name}.safetensors")[1] for name in weights}


def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(whole, tmp_path):
    project = small_project(tmp_path / "project")
    moments, victims = random.Random(0), KILLS.copy()
    moments.shuffle(victims)
    while victims:
        with open(project.path("told.txt"), "a") as told:
            running = psutil.Popen(project.command(WAREHOUSE), cwd=project.folder, stdout=told, stderr=told)
        deadline = time.monotonic() + moments.uniform(2.5, 9)
        while time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.05)
        jobs = jobs_of(running)
        if running.poll() is not None:  # it came to its end: begin anew with what is left to kill
            assert running.returncode == 0
            shutil.rmtree(project.path("results"))
            shutil.rmtree(project.path(".snakemake"))
            continue
        # Where there is no job to kill, Snakemake is, and that does not count.
        victim = victims.pop() if jobs or victims[-1] == "snakemake" else "snakemake"
        if victim != "snakemake":
            moments.choice(jobs).kill()
        if victim == "job":
            running.wait(300)  # the other jobs end, then Snakemake tells of the failure
            continue
        running.kill()
        running.wait()
        _, alive = psutil.wait_procs(jobs, timeout=20)
        assert not alive, "a job outlived its Snakemake"
        project.run("--unlock")
    project.run(WAREHOUSE)
    assert computed(project) == whole
    assert not [*project.path("results").rglob("*.part*")]
    assert "Nothing to be done" in project.run("--dry-run", WAREHOUSE)


def test_a_disk_that_is_full_in_the_middle_of_a_run_is_told_and_the_run_goes_on_after_room_was_made(
    whole, small_disk, tmp_path
):
    project = small_project(tmp_path / "project")
    make_room(small_disk, "4m")
    project.path("results").symlink_to(small_disk)
    told = project.run(WAREHOUSE, check=False)
    assert re.search(r" failed: No space left on the disk for results/\S+: make room and run again", told)
    written = {path.name for path in small_disk.rglob("*") if path.is_file()}
    assert written and not [name for name in written if ".part" in name]
    make_room(small_disk)
    project.run(WAREHOUSE)
    assert computed(project) == whole


def test_a_second_snakemake_in_the_same_folder_is_refused(whole, tmp_path):
    project = small_project(tmp_path / "project")
    with open(os.devnull, "w") as nowhere:
        first = subprocess.Popen(
            project.command(WAREHOUSE), cwd=project.folder, stdout=nowhere, stderr=nowhere
        )
    while not any(project.path(".snakemake/locks").glob("*")):
        assert first.poll() is None
        time.sleep(0.05)
    told = project.run(WAREHOUSE, check=False)
    assert "cannot be locked" in told and "--unlock" in told  # what happened, and what to do
    assert first.wait(600) == 0
    assert computed(project) == whole


def test_an_interrupted_run_goes_on(whole, tmp_path):
    project = small_project(tmp_path / "project")
    with open(os.devnull, "w") as nowhere:
        command = project.command(WAREHOUSE)
        running = psutil.Popen(command, cwd=project.folder, stdout=nowhere, stderr=nowhere)
    while not any(project.path("results").glob("weights/*/*.safetensors")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    running.wait(120)
    assert not project.path(WAREHOUSE).exists()
    project.run(WAREHOUSE)
    assert computed(project) == whole


def top1(project, dataset, model, strip, level):
    """Mean over images and seeds, in percent."""
    rows = pq.read_table(project.path(f"results/predictions/{dataset}/{model}/{strip}.parquet"))
    chosen = np.isclose(rows["level"].to_numpy(), level)
    return 100 * (rows["rank"].to_numpy()[chosen] == 0).mean()


def test_what_the_embedded_run_shows_of_shape_texture_and_attention(tmp_path):
    """Those studies of the embedded run that need its main trainings alone; the whole takes far longer."""
    project = Project.create(tmp_path / "project", "config.yaml")
    config = yaml.safe_load(project.path("config.yaml").read_text())
    kept = ("permutation", "bias", "stylized", "information", "attention", "objects")
    config["studies"] = {name: config["studies"][name] for name in kept}
    config["studies"]["drop"] = {
        "datasets": "shapes",
        "models": ["vit", "cnn"],
        "perturbations": "random_drop/8x8",
    }
    for study in config["studies"].values():
        study["models"] = [m for m in study["models"] if m in ("vit", "cnn", "vit_sin", "sin", "random_a")]
    project.path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    project.run()
    for model in ("vit", "cnn"):
        clean = top1(project, "shapes", model, "random_drop/8x8", 0)
        assert clean > 80
        assert top1(project, "shapes", model, "random_drop/8x8", 0.9) < clean - 20
        assert top1(project, "shapes", model, "shuffle_grid/plain", 1) == clean
    assert project.plan() == {}
    with duckdb.connect(project.path("results/warehouse.duckdb"), read_only=True) as db:
        found = dict(db.sql("SELECT (claim, about), verdict FROM claim_comparisons").fetchall())
        claims = dict(db.sql("SELECT key, verdict FROM claims").fetchall())
    assert found["stylized_bias", "cnn_sin against cnn on cue_conflict"] == "supported"
    assert found["stylized_bias", "vit_sin against vit on cue_conflict"] == "supported"
    assert found["shape_readable", "cnn_sin on sin"] == "supported"
    assert found["segmentation_random", "class token of vit on shapes"] == "supported"
    shown = ("patch_drop", "correlation", "attention_visible", "permutation")
    assert {claims[key] for key in shown} == {"supported"}
    assert claims["patch_drop_80"] == "not supported"
    assert claims["hierarchical"] == claims["people"] == "not measured"
    # What a training tells of its held-out images is what a strip tells of them.
    facts = json.loads(project.path("results/weights/trained/vit.json").read_text())
    assert facts["held_out_images"] == 1000
    assert 100 * facts["held_out_top1"] == pytest.approx(top1(project, "shapes", "vit", "random_drop/8x8", 0))


def test_a_first_look(tmp_path):
    project = Project.create(tmp_path / "project", "config/tiny.yaml")
    project.run(WAREHOUSE)  # that figures and the page are drawn of it, `finished` shows
    assert not {"train_stage", "predict"} & {*project.plan()}


def test_real_photographs_give_the_numbers_of_an_independent_program(real, tmp_path):
    """The reference is the top-1 of 1,000 photographs, of which these are 500, mean of three seeds."""
    reference = {0: 87.4, 0.1: 59.0, 0.2: 33.0, 0.3: 16.3}
    images = 200
    project = Project.create(tmp_path / "project", "config/sample.yaml")
    project.path("data").mkdir()
    project.path("data/photographs").symlink_to(real / "imagenet-sample")
    project.path("data/weights").symlink_to(real / "weights")
    project.edit(
        "config.yaml",
        "{root: data/photographs}\n  few",
        f"{{root: data/photographs, images: {images}}}\n  few",
    )
    project.edit("config.yaml", "seeds: [0, 1, 2]", "seeds: [0]")
    project.edit("config.yaml", "  corrupt: [0, 3]", "  random_drop: [0, 0.1, 0.2, 0.3]\n  corrupt: [0, 3]")
    strips = {
        model: f"results/predictions/photographs/{model}/random_drop/14x14.parquet"
        for model in ("efficientnet", "dinov2")
    }
    project.run(strips["efficientnet"])
    for level, expected in reference.items():
        measured = top1(project, "photographs", "efficientnet", "random_drop/14x14", level)
        # The difference of a sample and the set that it comes from, and of one seed and the mean of three.
        error = np.sqrt(expected * (100 - expected) * (1 / images - 1 / 1000) + 1.4**2)
        assert abs(measured - expected) < 3 * error, (level, measured)
    project.edit("config.yaml", "[0, 0.1, 0.2, 0.3]", "[0, 0.1]")
    project.edit("config.yaml", f"images: {images}", "images: 60")
    project.run(strips["dinov2"])
    # Its head was made of these very photographs, so that it knows every clean one.
    assert top1(project, "photographs", "dinov2", "random_drop/14x14", 0) == 100
    assert 70 < top1(project, "photographs", "dinov2", "random_drop/14x14", 0.1) < 100
    project.edit("config.yaml", "images: 100", "images: 24")
    measures = "results/measures/few/{}/{}.parquet"
    project.run(
        *(measures.format(model, "information_loss") for model in strips),
        measures.format("dinov2", "attention"),
    )

    def means(model, measure, columns, where):
        file = project.path(measures.format(model, measure))
        return duckdb.sql(f"SELECT {columns} FROM '{file}' WHERE {where}").fetchall()[0]

    kept = {
        model: means(model, "information_loss", "avg(value)", "kind = 'image' AND round(level, 2) = 0.5")[0]
        for model in strips
    }
    assert kept["dinov2"] > 0.6 and kept["efficientnet"] < 0.25  # of 200 photographs 0.80 and 0.11
    last = "kind = 'visible' AND block = 12 AND image >= 0"
    occluded, untouched = means("dinov2", "attention", "avg(occluded), avg(untouched)", last)
    assert occluded > 0.35 and 0.1 < untouched < 0.25  # of 60 photographs 0.47 and 0.17
