"""The report of a run in which jobs have failed."""

import html
import re
import shutil

import pyarrow.parquet as pq
import pytest

HOLES = ("--config", "holes=named")
STRIP = "results/predictions/shapes/cnn/random_drop/4x4.parquet"


@pytest.fixture
def unfinished(project):
    """A run that has failed where the training of `vit` has, with one strip and little else."""
    lost = [*project.path("results/predictions").rglob("*.parquet")]
    lost += [*project.path("results/measures").rglob("*.*"), *project.path("results/readouts").rglob("*.*")]
    lost += [project.path("results/weights/trained/vit.safetensors"), project.path("results/report.html")]
    for file in lost:
        if file != project.path(STRIP):
            file.unlink()
    shutil.rmtree(project.path("results/foreground"))
    with open(project.path("logs/train_stage/vit/2.log"), "a") as log:
        log.write("RuntimeError: <the disk> is full\n\n")
    return project


def test_a_report_with_holes_is_made_of_what_is_there_and_names_the_rest(unfinished):
    assert unfinished.plan(*HOLES) == {"build_warehouse": 1, "draw_figure": 2, "write_report": 1}
    unfinished.run(*HOLES)
    text = unfinished.path("results/report.html").read_text()
    [section] = re.findall(r'<section id="missing".*?</section>', text, re.S)
    rows = dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", section))
    # Six strips, ten measures, two probes, two few-shot evaluations, and the training.
    assert len(rows) == 21
    reason = html.unescape(rows["results/weights/trained/vit.safetensors"])
    assert reason == "RuntimeError: <the disk> is full"
    assert rows["results/measures/shapes/cnn/attention.parquet"]
    assert STRIP not in rows and "random_drop" in text
    [section] = re.findall(r'<section id="coverage".*?</section>', text, re.S)
    assert section.count("<td>missing</td>") == 20  # all of these but the training
    assert section.count("<td>5 of 5</td>") == 1
    assert unfinished.plan(*HOLES) == {}
    assert unfinished.plan()["predict"] == 6


def test_a_report_with_holes_stops_for_anything_else_that_is_wrong(unfinished):
    strip = pq.read_table(unfinished.path(STRIP))
    pq.write_table(strip.slice(1), unfinished.path(STRIP))
    told = unfinished.run("results/warehouse.duckdb", *HOLES, check=False)
    assert "A cell does not have exactly one prediction for each image of its dataset." in told


def test_without_anything_there_is_no_report(unfinished):
    unfinished.path(STRIP).unlink()
    told = unfinished.run("--dry-run", *HOLES, check=False)
    assert "nothing that the config asks for is there yet" in told


def test_a_figure_that_fails_is_named_and_the_rest_of_the_report_is_made(project):
    project.edit("reports/figures/occlusion.py", "ORDER = 10", "ORDER = 10\nnothing = 1 / 0")
    told = project.run("results/report.html", "--keep-going", check=False)
    reason = "reports/figures/occlusion.py: ZeroDivisionError: division by zero"
    assert f"draw_figure occlusion failed: {reason} (log:" in told
    assert not project.path("results/figures/occlusion.png").exists()
    project.run(*HOLES)
    text = project.path("results/report.html").read_text()
    [section] = re.findall(r'<section id="missing".*?</section>', text, re.S)
    found = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", section)
    assert found == [("results/figures/occlusion.json", f"ValueError: {reason}")]
    assert 'id="permutation"' in text and 'id="occlusion"' not in text
    assert project.plan(*HOLES) == {}
    project.edit("reports/figures/occlusion.py", "\nnothing = 1 / 0", "")
    assert project.plan() == {"draw_figure": 1, "write_report": 1}
