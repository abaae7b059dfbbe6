"""A dataset whose corrupted images are read from a folder like that of ImageNet-C."""

import shutil

import pyarrow.parquet as pq
import pytest

STRIP = "results/predictions/shapes/cnn/corrupt/fog.parquet"


@pytest.fixture
def corrupted(project):
    """The finished project, asked for fog at two severities; its folder holds the untouched images."""
    project.edit(
        "config.yaml",
        "studies:\n",
        "studies:\n  fog: {datasets: shapes, models: cnn, perturbations: corrupt/fog}\n",
    )
    project.edit("config.yaml", "levels:\n", "levels:\n  corrupt: [0, 1, 3]\n")
    for severity in (1, 3):
        shutil.copytree(project.path("results/folders/shapes/images"), project.path(f"data/c/fog/{severity}"))
    project.edit("config.yaml", "family: drawn}", "family: drawn, imagenet_c: data/c}")
    return project


def test_images_are_read_from_the_folder(corrupted):
    assert corrupted.plan() == {
        "predict": 1,
        "draw_sheet": 1,
        "build_warehouse": 1,
        "draw_figure": 29,
        "write_report": 1,
    }
    corrupted.run(STRIP)
    rows = pq.read_table(corrupted.path(STRIP)).to_pylist()
    confidence = {
        level: [row["prob"] for row in rows if row["level"] == level and row["seed"] == 0]
        for level in (0, 1, 3)
    }
    assert confidence[0] == confidence[1] == confidence[3]  # as they are untouched in the folder
    assert "predict" not in corrupted.plan()


def test_another_folder_computes_what_is_read_from_it_and_nothing_else(corrupted):
    corrupted.run("--until", "predict")
    shutil.move(corrupted.path("data/c"), corrupted.path("data/other"))
    corrupted.edit("config.yaml", "imagenet_c: data/c", "imagenet_c: data/other")
    assert corrupted.plan()["predict"] == 1 and "pack_images" not in corrupted.plan()
    corrupted.edit("config.yaml", ", imagenet_c: data/other", "")
    assert corrupted.plan()["predict"] == 1 and "pack_images" not in corrupted.plan()


def test_a_missing_folder_is_told_before_anything_runs(corrupted):
    shutil.rmtree(corrupted.path("data/c/fog/3"))
    told = corrupted.run("--dry-run", check=False)
    assert "datasets.shapes.imagenet_c: there is no folder data/c/fog/3" in told
    shutil.rmtree(corrupted.path("data/c"))
    told = corrupted.run("--dry-run", check=False).splitlines()
    assert [line.strip() for line in told if "imagenet_c" in line] == [
        "datasets.shapes.imagenet_c: there is no folder data/c"
    ]


def test_a_missing_file_is_named(corrupted):
    file = sorted(corrupted.path("data/c/fog/3").rglob("*.png"))[7]
    file.unlink()
    told = corrupted.run(check=False)
    assert f"{file.relative_to(corrupted.folder)} cannot be read" in told
