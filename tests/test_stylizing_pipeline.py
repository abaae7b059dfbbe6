"""Stylizing in the DAG of tests/stylizing.yaml: what it makes, what runs again, and what a mistake costs."""

import csv
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

from conftest import finished_project

EVALUATION = {"pack_images", "predict", "draw_sheet", "build_warehouse", "draw_figure", "write_report"}


@pytest.fixture(scope="module")
def stylized(tmp_path_factory):
    return finished_project(tmp_path_factory.mktemp("stylized"), "tests/stylizing.yaml")


@pytest.fixture
def project(stylized, tmp_path):
    return stylized.copy(tmp_path / "project")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*.png")}


def jobs(project):
    """The rules that would run before the evaluation, and how often."""
    return {rule: count for rule, count in project.plan().items() if rule not in EVALUATION}


def test_a_finished_run_has_nothing_to_do(project):
    assert project.plan() == {}


def test_stylized_images_are_packed_with_the_labels_of_their_contents(stylized):
    index = pq.read_table(stylized.path("results/images/stylized.parquet"))
    assert index.num_rows == 20
    for row in index.to_pylist():
        assert row["class_name"] == row["shape"] == row["path"].split("/")[0] and row["texture"]
        assert row["content"] == row["path"] and row["style"].startswith("painting/")
    with open(stylized.path("results/folders/stylized/index.csv"), newline="") as opened:
        masks = [row["mask"] for row in csv.DictReader(opened)]
    for mask in masks:
        own = np.asarray(Image.open(stylized.path("results/folders/stylized") / mask))
        assert (own == np.asarray(Image.open(stylized.path("results/folders/shapes") / mask))).all()


def test_the_decoder_knows_its_losses(stylized):
    with safe_open(stylized.path("results/stylizers/adain.safetensors"), "pt") as opened:
        assert "content_loss" in opened.metadata()["metrics"]
    assert "step 2 of 2: content loss" in stylized.path("logs/train_stylizer/adain.log").read_text()


def test_the_report_shows_contents_styles_and_results(stylized):
    report = stylized.path("results/report.html").read_text()
    assert 'id="stylized"' in report and "the content, the style, and the content in that style" in report


def test_other_shards_gather_the_same_bytes_from_the_store(project):
    before = contents(project.path("results/folders/stylized/images"))
    project.edit("config.yaml", "shards: 2", "shards: 3")
    assert jobs(project) == {}
    project.run("results/folders/stylized/index.csv", "--forcerun", "gather_stylized")
    assert contents(project.path("results/folders/stylized/images")) == before and len(before) == 20
    assert "0 of 1 batches to stylize" in project.path("logs/stylize_images/stylized/2-3.log").read_text()


def test_alpha_stylizes_anew_and_trains_nothing(project):
    project.edit("config.yaml", "shards: 2", "shards: 2, alpha: 0.5")
    assert jobs(project) == {"stylize_images": 2, "gather_stylized": 1, "draw_stylized": 1}


def test_steps_train_the_decoder_anew_but_not_the_encoder(project):
    project.edit("config.yaml", "steps: 2", "steps: 3")
    assert jobs(project) == {
        **{"train_stylizer": 1, "stylize_images": 2, "gather_stylized": 1, "draw_stylized": 1}
    }


def test_paintings_in_a_flat_folder_and_a_decoder_from_a_file(project):
    project.path("flat").mkdir()
    for painting in project.path("results/folders/paintings/images/painting").iterdir():
        shutil.copy(painting, project.path("flat"))
    shutil.copy(project.path("results/stylizers/adain.safetensors"), project.path("decoder.safetensors"))
    project.edit("config.yaml", "{draw: painting, images: 5, size: 32}", "{root: flat}")
    trained = "content: shapes, styles: paintings, steps: 2, batch_images: 4"
    project.edit("config.yaml", trained, "decoder: decoder.safetensors")
    project.run("results/folders/stylized/index.csv")
    styles = {style for style in project.path("results/folders/stylized/index.csv").read_text().split(",")}
    assert "painting/" not in " ".join(styles) and "00000.png" in " ".join(styles)


DRAWN = "{draw: painting, images: 5, size: 32}"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("stylizer: adain", "stylizer: adian", "line 5: datasets.stylized.stylizer: 'adian' is not known"),
        ("encoder: encoder,", "encoder: encodr,", "stylizers.adain.encoder: 'encodr' is not known, did you"),
        (DRAWN, "{root: nowhere}", "datasets.paintings.root: there is no folder nowhere"),
        (DRAWN, "{root: results/shards}", "results/shards has no images in it"),
        ("encoder, data: shapes", "encoder, data: stylized", "made from itself: datasets.stylized from"),
        ("content: shapes, styles: paintings, steps: 2,", "decoder: lost.pth,", "there is no file lost.pth"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_runs(project, old, new, says):
    project.edit("config.yaml", old, new)
    told = project.run("--dry-run", check=False)
    assert says in told
    assert "Job stats" not in told
