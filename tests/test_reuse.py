"""What a run takes from the folder of another, and what it must not."""

import json
import os
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from conftest import Project
from patchwork import reuse

PARAMS = [{"crop": 32}, "1f", 4]


def keep(folder, kind, output, **told):
    """A record of a run, as Snakemake keeps it."""
    path = Path(folder, ".snakemake", kind, urlsafe_b64encode(output.encode()).decode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))
    return path


@pytest.fixture
def other(tmp_path, monkeypatch):
    """The folder of another run, which has packed images of data/photos, beside our own."""
    folder = tmp_path / "other"
    for place in (folder, tmp_path / "own"):
        place.mkdir()
        Path(place, "data").symlink_to(tmp_path)
    Path(tmp_path, "photos").mkdir()
    for name in ("a.npy", "a.parquet"):
        Path(folder, name).write_text(name)
        keep(folder, "metadata", name, params=sorted(map(repr, PARAMS)), input=["data/photos"])
    monkeypatch.chdir(tmp_path / "own")
    return folder


def taken(other, params=PARAMS):
    """Whether the files are taken; those that there are afterwards are then all of them, or else none."""
    done = reuse.take(other, ["a.npy", "a.parquet"], params)
    assert sorted(path.name for path in Path().glob("a*")) == (["a.npy", "a.parquet"] if done else [])
    return done


def test_equal_results_are_copied(other):
    assert taken(other)
    assert Path("a.npy").read_text() == "a.npy"
    assert not os.path.samefile("a.npy", other / "a.npy")


@pytest.mark.parametrize("params", [[{"crop": 24}, "1f", 4], [{"crop": 32}, "1f"], [*PARAMS, 4]])
def test_other_parameters_are_other_results(other, params):
    assert not taken(other, params)


def test_what_is_not_finished_or_not_there_is_not_taken(other):
    unfinished = keep(other, "incomplete", "a.parquet", external_jobid=None)
    assert not taken(other)
    unfinished.unlink()
    Path(other, "a.parquet").unlink()
    assert not taken(other)


def test_another_folder_of_the_same_name_holds_other_images(other):
    Path("data").unlink()
    Path("data/photos").mkdir(parents=True)
    assert not taken(other)
    keep(other, "metadata", "data/photos", input=[])  # a job has made it, so that digests tell all
    assert taken(other)


def test_what_changes_meanwhile_is_an_error_and_leaves_nothing(other, monkeypatch):
    def copy_late(source, target):
        shutil.copyfile(source, target)
        keep(other, "incomplete", "a.npy", external_jobid=None)

    monkeypatch.setattr(reuse, "copy", copy_late)
    with pytest.raises(ValueError, match=r"has changed a\.npy while it was copied: run again"):
        reuse.take(other, ["a.npy", "a.parquet"], PARAMS)
    assert not [*Path().glob("*a*npy*")]


def test_links_in_a_folder_lead_to_the_same_images(other):
    image = other.parent / "photos/1.png"
    image.write_text("pixels")
    Path(other, "folder/images").mkdir(parents=True)
    Path(other, "folder/images/1.png").symlink_to("../../data/photos/1.png")
    keep(other, "metadata", "folder", params=[], input=[])
    assert reuse.take(other, ["folder"], [])
    assert Path("folder/images/1.png").read_text() == "pixels"
    assert Path("folder/images/1.png").readlink() == image.resolve()


def state(project):
    """Content and time of every file."""
    found = {path: path.lstat() for path in project.folder.rglob("*")}
    return {
        path: (found[path].st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in found
        if path.name != "__pycache__" and path.suffix != ".pyc"
    }


def test_a_second_folder_takes_what_was_made_of_the_same(finished, tmp_path):
    before = state(finished)
    project = Project.create(tmp_path / "second")
    shutil.copy2(finished.path("cnn.safetensors"), project.path("cnn.safetensors"))
    project.edit("config.yaml", "seeds:", f"reuse: {finished.folder}\nseeds:")
    images, fetched, trained, strip = (
        "results/images/shapes.npy",
        "results/weights/fetched/cnn.safetensors",
        "results/weights/trained/shape.safetensors",  # whose teacher is the one that is fetched
        "results/predictions/shapes/cnn/random_drop/4x4.parquet",
    )
    project.edit("config.yaml", "[0, 0.5, 0.9]", "[0, 0.5]")
    project.run(images, fetched, trained, strip)
    logs = {
        path.relative_to(project.path("logs")): path.read_text()
        for path in project.path("logs").rglob("*.log")
    }
    made = {path.parts[0] for path, text in logs.items() if "taken from" not in text}
    assert made == {"predict"}  # it was asked for another level
    for file in (images, fetched, trained):
        assert project.path(file).read_bytes() == finished.path(file).read_bytes()
    project.edit("config.yaml", "crop: 32", "crop: 24")
    project.run(images)
    assert "taken from" not in project.path("logs/pack_images/shapes.log").read_text()
    assert project.path(images).stat().st_size < finished.path(images).stat().st_size
    assert state(finished) == before


def test_a_folder_without_a_run_is_told_at_planning(finished, tmp_path):
    project = Project.create(tmp_path / "second")
    shutil.copy2(finished.path("cnn.safetensors"), project.path("cnn.safetensors"))
    told = project.run("--dry-run", "--config", "reuse=nowhere", check=False)
    assert "reuse: no run of Patchwork was in a folder nowhere" in told
