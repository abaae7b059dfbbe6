"""How far it goes: planning thousands of strips, and a warehouse over a hundred million predictions.

    python tests/benchmark_scale.py             # all, and docs/scale.svg
    python tests/benchmark_scale.py planner     # made-up configs of 1,000, 5,000 and 20,000 strips
    python tests/benchmark_scale.py warehouse   # made-up predictions: 20 models, 150 cells, 50,000 images
    python tests/benchmark_scale.py pages       # of these, the report; and two such runs compared

Seconds are those of processors, which other programs on a machine lengthen least.
"""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "scripts")]

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from conftest import COLUMNS, LISTS, ROOT, SQL, Project
from patchwork import building, columns, comparing, figures, tables
from patchwork.catalogue import catalogue
from patchwork.report import comparison, page

STRIPS = [1000, 5000, 20_000]
PERTURBATIONS = ["corrupt", "random_drop", "feature_drop", "offset_drop", "offset_sweep", "shuffle_grid"]
VARIANTS = 50  # of these together

MODELS, IMAGES, CLASSES = 20, [12_500, 25_000, 50_000], 1000
CELLS = [(0, 0), *((level, seed) for level in (0.25, 0.5, 0.75) for seed in range(3))]
MADE_UP = [f"{rows}x{rows}" for rows in range(1, 16)]  # variants of random_drop
FAMILY = {f"m{model}": ("vit", "cnn")[model % 2] for model in range(MODELS)}  # claims compare each with each
THREADS, MEMORY_MB = 2, 4000


def config(strips):
    """Many models under the same perturbations: most of a large config is models."""
    names = [f"m{number}" for number in range(strips // VARIANTS)]
    return {
        "datasets": {"shapes": {"draw": "natural", "images": 100, "size": 64}},
        "pixels": {"resize": 64, "crop": 64, "interpolation": "bilinear"},
        "models": {name: {"family": "cnn", "timm": "resnet18", "weights": "random"} for name in names},
        "studies": {"all": {"datasets": "shapes", "models": names, "perturbations": PERTURBATIONS}},
        "seeds": [0, 1, 2],
    }


def measured(command, folder):
    """(what it printed, seconds of processors, MB at its highest) of a command."""
    with open(folder / "told.txt", "w+") as told:
        process = subprocess.Popen(command, cwd=folder, stdout=told, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        told.seek(0)
        text = told.read()
    if status:
        sys.exit(text)
    return text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def plan(strips, folder):
    """A row of the table: planning all of a config, and planning it once more when all is done."""
    project = Project.create(folder)
    project.path("config.yaml").write_text(yaml.safe_dump(config(strips)))
    plain = project.command("--dry-run")
    text, seconds, megabytes = measured(plain, folder)
    assert text.count("rule predict:") == strips
    for line in re.findall(r"^ +(?:output|log|benchmark): (.*)$", text, re.M):
        for name in line.split(", "):
            project.path(name).parent.mkdir(parents=True, exist_ok=True)
            project.path(name).touch()
    pq.write_table(
        pa.table({"image": range(100)}), project.path("results/images/shapes.parquet")
    )  # planning reads it
    project.run("--touch", "--quiet", "all")  # from here on they count as made
    text, again, megabytes_again = measured(plain, folder)
    assert "Nothing to be done" in text
    return seconds, megabytes, again, megabytes_again


def planner():
    """Rows of the figure."""
    print("| strips | planning, s | MB | nothing to do, s | MB |\n|---|---|---|---|---|")
    rows = []
    for strips in STRIPS:
        with TemporaryDirectory() as folder:
            found = plan(strips, Path(folder, "project"))
        print(f"| {strips:,} | {' | '.join(f'{number:.0f}' for number in found)} |", flush=True)
        for line, seconds in (("planning", found[0]), ("nothing to do", found[2])):
            rows.append({"x": strips, "seconds": seconds, "line": line, "of": "strips"})
    return rows


def cell(random, level, seed, images, accuracy):
    """Made-up decisions of one cell, with as many different values as real ones have."""
    labels = np.arange(images) % CLASSES
    right = random.random(images) < accuracy
    sure = random.beta(2, 1, images)
    columns = {"image": np.arange(images), "label": labels}
    columns |= {"pred": np.where(right, labels, (labels + random.integers(1, CLASSES, images)) % CLASSES)}
    columns |= {"rank": np.where(right, 0, random.geometric(0.05, images).clip(max=CLASSES - 1))}
    columns |= {"prob": np.where(right, sure, sure / 4), "confidence": sure}
    columns |= {"lost": np.full(images, level), "tokens_lost": np.full(images, level)}
    return tables.predictions(level, seed, columns | {"tokens_cut": np.zeros(images)})


def make_up(folder, images, worse=0):
    """The strips of MODELS, all of a model with the same decisions, and the index of their dataset: a list of
    files, and a file. Bytes are written once a model, as strips that are linked to another name.

    worse: by how much the accuracy of every second model is lower.
    """
    files = []
    for model in range(MODELS):
        random = np.random.default_rng(model)
        cells = [cell(random, *where, images, 0.8 - 0.7 * where[0] - worse * (model % 2)) for where in CELLS]
        for variant in MADE_UP:
            file = folder / f"predictions/imagenet/m{model}/random_drop/{variant}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            if variant == MADE_UP[0]:
                tables.write(file, cells, {"refused": "[]", "computed_with": "nothing"})
            else:
                os.link(file.with_name(f"{MADE_UP[0]}.parquet"), file)
            files.append(file)
    names = [f"n{number % CLASSES:08d}" for number in range(images)]
    told = {
        "image": pa.array(range(images), pa.int32()),
        "label": pa.array(range(images)),
        "class_name": names,
    }
    told["label"] = pa.array([number % CLASSES for number in range(images)], pa.int16())
    told |= {"path": [f"{name}/{number}.JPEG" for number, name in enumerate(names)]}
    index = folder / "images/imagenet.parquet"
    index.parent.mkdir(parents=True)
    classes = {"classes": json.dumps(names[:CLASSES]), "categories": "{}"}
    table = pa.table(told | {"problem": pa.nulls(images, pa.string())})
    pq.write_table(table.replace_schema_metadata(classes), index)
    return files, index


def build(folder):
    """Build the warehouse of made-up strips."""
    files = sorted(Path(folder).glob("predictions/*/*/*/*.parquet"))
    strips = [dict(zip(building.STRIP, [*file.parts[-4:-1], file.stem], strict=True)) for file in files]
    strips = [
        strip | {"family": "occlusion", "model_family": FAMILY[strip["model"]], "cells": CELLS}
        for strip in strips
    ]
    given = {"predictions": files, "indexes": [Path(folder, "images/imagenet.parquet")]}
    given |= {"foregrounds": [], "trainings": []}
    given |= LISTS
    told = {"asked": strips, "reference": "m0", "columns": COLUMNS}
    building.build(Path(folder, "warehouse.duckdb"), given, told, *SQL, THREADS, MEMORY_MB)


def warehouses():
    """Rows of the figure."""
    rows = []
    print("| predictions, millions | bytes each | build, s | MB | warehouse, MB |\n|---|---|---|---|---|")
    for images in IMAGES:
        with TemporaryDirectory() as name:
            files, _ = make_up(Path(name), images)
            predictions = len(files) * len(CELLS) * images
            stored = sum(file.stat().st_size for file in files) / predictions
            command = [sys.executable, __file__, "build", name]
            _, seconds, megabytes = measured(command, Path(name))
            size = Path(name, "warehouse.duckdb").stat().st_size / 1e6
            print(
                f"| {predictions / 1e6:,.0f} | {stored:.1f} | {seconds:.0f} | {megabytes:.0f} | {size:.0f} |",
                flush=True,
            )
            millions = "millions of predictions"
            rows.append({"x": predictions / 1e6, "seconds": seconds, "line": "warehouse", "of": millions})
    return rows


def write_page(folder):
    """The report of made-up strips, with all figures that have something to show."""
    path, drawn = Path(folder, "warehouse.duckdb"), []
    for name, entry in catalogue(ROOT / "reports/figures").items():
        text = figures.draw(ROOT / f"reports/figures/{name}.py", path, entry["doc"])
        if columns.rows(json.loads(text)):
            file = Path(folder, f"{name}.json")
            file.write_text(text)
            drawn.append((name, entry["doc"], file))
    template = (ROOT / "reports/page.html").read_text()
    Path(folder, "page.html").write_text(page.page(template, path, drawn, [], [], [], {}, {}))


def compare(folder):
    """Compare the two runs in a folder, and write the page."""
    paths = [Path(folder, run, "warehouse.duckdb") for run in ("before", "after")]
    units = (ROOT / "reports/runs_compared.sql").read_text()
    rows = comparing.compare(*paths, units, THREADS, MEMORY_MB)
    figure = runpy.run_path(ROOT / "reports/runs_compared.py")
    template = (ROOT / "reports/page.html").read_text()
    text = comparison.write(template, rows, ["before", "after"], figure["__doc__"], figure["chart"])
    Path(folder, "page.html").write_text(text)
    print(comparison.told(rows))


def pages():
    """No rows of the figure."""
    print("| page | predictions, millions | s | MB | page, MB |\n|---|---|---|---|---|")
    with TemporaryDirectory() as name:
        folder, images = Path(name), IMAGES[-1]
        for run, worse in (("before", 0), ("after", 0.002)):
            files, _ = make_up(folder / run, images, worse)
            measured([sys.executable, __file__, "build", folder / run], folder)
        millions = len(files) * len(CELLS) * images / 1e6
        for what, times, where in (("write_page", 1, folder / "after"), ("compare", 2, folder)):
            _, seconds, megabytes = measured([sys.executable, __file__, what, where], folder)
            size = Path(where, "page.html").stat().st_size / 1e6
            print(f"| {what} | {times * millions:,.0f} | {seconds:.0f} | {megabytes:.0f} | {size:.1f} |")
    return []


def draw(rows):
    """The figure of docs/scale.md."""
    panels = [
        alt.Chart(pa.Table.from_pylist([row for row in rows if row["of"] == of]))
        .mark_line(point=True)
        .encode(
            x=alt.X("x:Q", title=of),
            y=alt.Y("seconds:Q", title="seconds of processors"),
            strokeDash=alt.StrokeDash("line:N", title=None),
        )
        .properties(width=240, height=160)
        for of in dict.fromkeys(row["of"] for row in rows)
    ]
    alt.hconcat(*panels).save(ROOT / "docs/scale.svg")


def main():
    jobs = {"build": build, "write_page": write_page, "compare": compare}
    if sys.argv[1:2] and sys.argv[1] in jobs:
        jobs[sys.argv[1]](sys.argv[2])
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {time.strftime('%H:%M')}", flush=True)
    parts = {"planner": planner, "warehouse": warehouses, "pages": pages}
    rows = [parts[name]() for name in sys.argv[1:] or parts]
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    if len(rows) == len(parts):
        draw([row for part in rows for row in part])


if __name__ == "__main__":
    main()
