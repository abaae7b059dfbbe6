"""Images that are fetched and images that are listed, in the DAG of tests/sources.yaml."""

import csv

import pyarrow.parquet as pq
import pytest

from conftest import Project
from test_sources import save, textures, write

BIRDS = [f"{kind}/{kind}_{number}.jpg" for kind in ("001.Albatross", "002.Auklet") for number in range(6)]
MADE = ("train", "test")


@pytest.fixture
def project(tmp_path):
    """A project with a small DTD and a folder of birds, of which two lists name halves."""
    project = Project.create(tmp_path / "project", "tests/sources.yaml")
    textures(project.path("data/textures"), None)
    for path in [*BIRDS, "003.Auk/only.jpg"]:  # whose class no list names
        save(project.path("data/birds") / path)
    write(project.path("data/birds_train.txt"), *BIRDS[::2])
    write(project.path("data/birds_test.txt"), *(path.removesuffix(".jpg") for path in BIRDS[1::2]))
    return project


def test_what_is_fetched_and_listed_is_planned_like_any_folder(project):
    assert {rule: count for rule, count in project.plan().items() if rule != "draw_figure"} == {
        "fetch_images": 2,
        "fetch_weights": 1,
        "train_stylizer": 1,
        "stylize_images": 2,
        "gather_stylized": 2,
        "draw_stylized": 2,
        "train_stage": 2,
        "export_weights": 2,
        "pack_images": 5,
        "predict": 5,
        "build_warehouse": 1,
        "write_report": 1,
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "split: test, root: data/textures",
            "split: test, root: data/nowhere",
            "datasets.test.root: there is no data/nowhere/dtd/dtd: put DTD there, or let it",
        ),
        (
            "list: data/birds_test",
            "list: data/tests",
            "datasets.held_out.list: there is no file data/tests.txt",
        ),
        (
            "list: data/birds_test.txt",
            "list: data/other.txt",
            "other.txt names 'puffin/1', but data/birds has no",
        ),
        (
            "seeds: [0]",
            "  all: {models: cnn, transfers: all}\ntransfers: {all: {train: train, test: again}}\nseeds: [0]",
            "transfers.all: again holds images of the split train of DTD, which is also in train: its parts",
        ),
        (
            "seeds: [0]",
            "  all: {models: cnn, transfers: all}\ntransfers: {all: {train: birds, test: same}}\nseeds: [0]",
            "transfers.all: same holds 001.Albatross/001.Albatross_0.jpg, which is also in birds: its parts",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_runs(project, old, new, says):
    write(project.path("data/other.txt"), "puffin/1")
    again = "  again: {fetch: DTD, split: train, root: data/textures}\n  same: {root: data/birds}\npixels:"
    project.edit("config.yaml", "pixels:", again)
    project.edit("config.yaml", old, new)
    told = project.run("--dry-run", check=False)
    assert says in told and "Job stats" not in told


@pytest.mark.slow
def test_what_is_fetched_and_listed_has_every_part_of_a_folder(project):
    project.run()
    assert project.plan() == {}
    for name in MADE:
        index = pq.read_table(project.path(f"results/images/{name}.parquet")).to_pylist()
        assert len(index) == 6
        for row in index:
            assert (
                row["class_name"] == row["class"] == row["path"].split("/")[0] == row["file"].split("/")[-2]
            )
    seen = pq.read_table(project.path("results/images/held_out.parquet")).to_pylist()
    assert [row["path"] for row in seen] == BIRDS[1::2]
    for name, contents, styles in (
        ("styled_textures", "data/textures/dtd/dtd/images", BIRDS[::2]),
        ("styled_birds", "data/birds", None),
    ):
        with open(project.path(f"results/folders/{name}/index.csv"), newline="") as opened:
            rows = [*csv.DictReader(opened)]
        assert len(rows) == 6 and all(project.path(f"{contents}/{row['content']}").is_file() for row in rows)
        assert styles is None or {row["style"] for row in rows} <= set(styles)
    rows = pq.read_table(project.path("results/trainings/birds.parquet")).to_pylist()
    assert len(rows) == 1
    assert (project.path("results/report.html")).stat().st_size > 10000

    # What may be downloaded decides no image; another split decides what is made of it, and no more.
    project.edit("config.yaml", "root: data/textures, family", "root: data/textures, download: true, family")
    assert project.plan() == {"write_report": 1}  # which shows the config
    write(project.path("data/birds_test.txt"), *BIRDS[1:9:2])
    planned = project.plan()
    assert (planned["pack_images"], planned["train_stage"], planned["predict"]) == (1, 1, 2)
    assert not {"fetch_images", "stylize_images", "train_stylizer"} & set(planned)
