"""A full disk while each kind of file is written, and files that are damaged before they are read."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, make_room, predictions
from patchwork import (
    building,
    checkpoints,
    files,
    foreground,
    measuring,
    models,
    packed,
    sheets,
    stylizing,
    tables,
    tokens,
    views,
    warehouse,
)
from patchwork.report import charts, pictures
from test_strips import ENTRY, build, pack
from test_warehouse import Study

VALUES = np.random.default_rng(0).random(1 << 17)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- A full disk. ----


def write_strip(path):
    columns = dict.fromkeys(tables.PREDICTIONS.names, VALUES)
    columns |= {name: (VALUES * 1000).astype(np.int16) for name in ("image", "label", "pred", "rank")}
    tables.write(path, [tables.predictions(0, 0, columns)], {})


def write_array(path):
    with open(path, "wb") as array:
        np.save(array, VALUES)


WRITERS = {
    "parquet": write_strip,
    "npy": write_array,
    "safetensors": lambda path: models.save(path, {"weight": torch.from_numpy(VALUES)}),
    "json": lambda path: path.write_text(json.dumps([*VALUES])),
    "webp": lambda path: sheets.save(path, Image.fromarray((VALUES * 255).astype(np.uint8).reshape(256, -1))),
    "pt": lambda path: checkpoints.torch.save({"weight": torch.from_numpy(VALUES)}, path),
    "html": lambda path: path.write_text("<p>" * len(VALUES)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(small_disk, kind):
    path, other = small_disk / f"a.{kind}", small_disk / "other"
    path.write_text("old")
    other.write_bytes(bytes(200_000))
    told = f"^No space left on the disk for {path}: make room and run again$"
    with pytest.raises(ValueError, match=told), files.whole(path) as temporary:
        WRITERS[kind](temporary)
    assert names(small_disk) == [path.name, "other"] and path.read_text() == "old"
    make_room(small_disk)
    with files.whole(path) as temporary:
        WRITERS[kind](temporary)
    assert names(small_disk) == [path.name, "other"] and path.stat().st_size > 10_000


def test_a_warehouse_on_a_full_disk_is_not_taken_for_whole(small_disk, tmp_path):
    """By itself DuckDB closes a file whose end is in a log beside it, and keeps silent."""
    study = Study(tmp_path / "study")
    whole = study.build()
    room = whole.stat().st_size
    for size in range(room // 4096 - 3, 0, -room // 4096 // 6):  # in pages, at different stages of the build
        make_room(small_disk, f"{4 * size}k")
        path = small_disk / "w.duckdb"
        told = f"^No space left on the disk for {path}: make room and run again$"
        with pytest.raises(ValueError, match=told), files.whole(path) as temporary:
            study.build(temporary)
        assert names(small_disk) == []
    make_room(small_disk)
    with files.whole(path) as temporary:
        study.build(temporary)
    assert names(small_disk) == ["w.duckdb"]
    assert warehouse.query(path, "FROM accuracy").equals(warehouse.query(whole, "FROM accuracy"))


def test_tokens_on_a_full_disk_are_an_error_and_not_the_end_of_the_process(small_disk, tmp_path):
    data = pack(tmp_path / "images", 200)
    model, compute = build(tmp_path), {"dtype": "float32", "batch_images": 50}
    model.origin["timm"] = "vit" * 10
    subject = measuring.Subject(model, data, "set", compute, {}, ())
    (small_disk / "other").write_bytes(bytes(252_000))
    path = small_disk / "t.npy"
    with pytest.raises(ValueError, match=f"^No space left on the disk for {path}: make room"):
        tokens.extract(subject, path)
    assert names(small_disk) == ["other"]
    make_room(small_disk)
    tokens.extract(subject, path)
    assert len(tokens.Tokens(path)) == 200


def test_a_stylized_image_on_a_full_disk_leaves_nothing_half(small_disk):
    path = small_disk / "a.png"
    image = (VALUES * 255).astype(np.uint8)[: 3 << 14].reshape(128, 128, 3)
    (small_disk / "other").write_bytes(bytes(240_000))
    with pytest.raises(ValueError, match=f"^No space left on the disk for {path}: make room"):
        stylizing.save(image, path)
    assert names(small_disk) == ["other"]
    make_room(small_disk)
    stylizing.save(image, path)
    assert (np.asarray(Image.open(path)) == image).all()


# ---- Damaged files. ----


def read_picture(path):
    about = {"dataset": "a", "levels": [0], "variant": "", "perturbation": "", "axis": ""}
    return pictures.sheet(about, path)


READERS = {
    "images": ("set.npy", None, lambda path: packed.Packed(path, path.with_suffix(".parquet"))),
    "index": ("set.parquet", None, lambda path: packed.Packed(path.with_suffix(".npy"), path)),
    "weights": ("w.safetensors", None, models.load),
    "tokens": ("t.npy", None, tokens.Tokens),
    "columns of tokens": ("t.json", None, lambda path: tokens.Tokens(path.with_suffix(".npy"))),
    "warehouse": ("warehouse.duckdb", None, lambda path: warehouse.query(path, "FROM accuracy")),
    "strip": ("s.parquet", write_strip, lambda path: building.read_footers([path], [], "predict")),
    "foreground": ("f.parquet", write_strip, lambda path: building.foreground_scores([path])),
    "training": ("r.parquet", write_strip, lambda path: building.epochs([path])),
    "checkpoint": ("c.pt", lambda path: checkpoints.save(path, {"a": torch.ones(9999)}), checkpoints.load),
    "figure": ("f.json", lambda path: path.write_text(json.dumps([*VALUES])), charts.read_json),
    "sheet": ("s.webp", WRITERS["webp"], read_picture),
    "examples": ("e.safetensors", WRITERS["safetensors"], lambda path: measuring.picture("", {"a": path})),
    "patches": ("p.safetensors", WRITERS["safetensors"], lambda path: view(path, "noise_patch", "patches")),
    "saliency": ("v.npy", WRITERS["npy"], lambda path: view(path, "salient_drop", "saliency")),
    "scored saliency": ("v.npy", WRITERS["npy"], lambda path: score(path, path.parent / "set.parquet")),
}


def score(ranks, index):
    return foreground.score(ranks, index, "", "", "a", {})


def view(path, perturbation, need):
    data = packed.Packed(path.parent / "set.npy", path.parent / "set.parquet")
    return views.View(data, "a", perturbation, "4x4", needs={need: path})


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """A file of each kind that jobs read of each other."""
    folder = tmp_path_factory.mktemp("whole")
    data, model = pack(folder), build(folder)
    subject = measuring.Subject(model, data, "set", {"dtype": "float32", "batch_images": 50}, {}, ())
    tokens.extract(subject, folder / "t.npy")
    Study(folder).build()
    for name, write, _ in READERS.values():
        if write:
            write(folder / name)
    return folder


def copied(folder, target):
    for path in folder.iterdir():
        if path.is_file():
            os.link(path, target / path.name)
    (target / "predictions").symlink_to(folder / "predictions")
    (target / "images").symlink_to(folder / "images")


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.999])
@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_was_cut_short_is_named(whole_files, tmp_path, kind, share):
    copied(whole_files, tmp_path)
    name, _, read = READERS[kind]
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"^{path} is damaged: delete it and run again$"):
        read(path)
    path.unlink()
    with pytest.raises((OSError, warehouse.duckdb.IOException)) as lost:  # what is not there is not damaged
        read(path)
    assert "damaged" not in str(lost.value)


def test_a_strip_that_was_cut_short_after_the_warehouse_was_built_is_named(tmp_path):
    study = Study(tmp_path)
    path = study.build()
    strip = tmp_path / "predictions/shapes/vit/random_drop/4x4.parquet"
    strip.write_bytes(strip.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"^{strip} is damaged: delete it and run again$"):
        warehouse.query(path, "SELECT count(rank) FROM predictions")
    with pytest.raises(warehouse.duckdb.ConversionException):  # another mistake is told as it is
        warehouse.query(path, "SELECT 'a'::INT")


def test_a_flipped_bit_of_weights_is_found(tmp_path):
    path = tmp_path / "w.safetensors"
    build(tmp_path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is damaged: delete it and run again$"):
        models.build(ENTRY, path)


def test_a_warehouse_with_a_damaged_block_is_named(tmp_path):
    path = Study(tmp_path).build()
    content = bytearray(path.read_bytes())
    for place in range(1 << 14, len(content), 1 << 12):
        content[place] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is damaged: delete it and run again$"):
        for name in ("accuracy", "asked", "models"):
            warehouse.query(path, f"FROM {name}")


def test_what_is_no_damage_is_told_as_it_is(tmp_path):
    for error in (PermissionError(13, "no"), OSError(5, "no"), MemoryError()):
        with pytest.raises(type(error)) as told, files.reading(tmp_path):
            raise error
        assert told.value is error


# ---- What a job is told. ----


def test_a_folder_that_cannot_be_written_to_is_named(small_disk):
    files.check_writable(small_disk / "results")
    assert names(small_disk) == ["results"] and names(small_disk / "results") == []
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    folder = small_disk / "results"
    with pytest.raises(ValueError, match=rf"^{folder} cannot be written to \(Read-only file system\)"):
        files.check_writable(folder)


def test_a_node_without_a_package_says_which_one_and_what_to_activate(tmp_path):
    script = (
        "import sys; from types import SimpleNamespace; sys.path.insert(0, sys.argv[1])\n"
        "from patchwork import jobs\n"
        "jobs.start(SimpleNamespace(threads=1, log=[sys.argv[2]], rule='predict', wildcards=['a', 'b'],\n"
        "                           resources={}, config={}))\n"
        "import no_such_package.part\n"
    )
    log = tmp_path / "job.log"
    command = [sys.executable, "-c", script, ROOT / "scripts", log]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"predict a b failed: {sys.executable} on ")
    assert "has no no_such_package" in done.stderr and "activate the environment" in done.stderr
    assert "Traceback" in log.read_text()


# ---- Damaged between runs. ----


def test_what_is_damaged_between_runs_is_named_and_made_again_once_it_is_deleted(finished, tmp_path):
    """Of a file that was cut short Snakemake knows nothing: its time is what it was."""
    project = finished.copy(tmp_path / "project")
    expected = predictions(project)
    several = {  # what is damaged, and something that is made of it and of no other of these
        "images/shapes.npy": "predictions/shapes/vit/random_drop/4x4.parquet",
        "weights/fetched/cnn.safetensors": "predictions/conflict/cnn/clean/plain.parquet",
        "tokens/train/cnn.npy": "readouts/elsewhere/cnn/few_shot.parquet",
    }
    for read_by in ({"predictions/shapes/vit/shuffle_grid/plain.parquet": "warehouse.duckdb"}, several):
        targets = [f"results/{made}" for made in read_by.values()]
        for name, made in read_by.items():
            cut(project.path(f"results/{name}"))
            project.path(f"results/{made}").unlink()
        told = project.run(*targets, check=False)
        for name in read_by:
            assert f"failed: results/{name} is damaged: delete it and run again (log: " in told
            project.path(f"results/{name}").unlink()
        project.run(*targets)
    assert predictions(project) == expected


def cut(path):
    """Truncate a file and give it the time that it had."""
    times = path.stat()
    os.truncate(path, times.st_size - 100)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
