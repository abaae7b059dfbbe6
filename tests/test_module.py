"""Patchwork as a module of another workflow: the example of docs/sharing.md, and results in another place."""

import csv
import re
import shutil
import textwrap

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT, Project, blocks

TEXT = (ROOT / "docs/sharing.md").read_text()
SNAKEFILE, REPLACED = blocks(TEXT, "python")
CONFIG = blocks(TEXT, "yaml")[1]
STRIP = "results/predictions/shapes/cnn/random_drop/4x4.parquet"


@pytest.fixture
def outer(tmp_path):
    """A workflow that is nothing but the example, with a clone beside it."""
    Project.create(tmp_path / "outer/patchwork")
    outer = Project(tmp_path / "outer")
    outer.path("Snakefile").write_text(SNAKEFILE)
    outer.path("config.yaml").write_text(CONFIG)
    shutil.copytree(ROOT / "profiles", outer.path("profiles"))
    return outer


def test_the_example_reads_a_strip(outer, finished):
    outer.edit("config.yaml", "  seeds:", f"  reuse: {finished.folder}\n  seeds:")
    outer.run()
    strip = pq.read_table(outer.path(STRIP))
    with open(outer.path("accuracy.csv"), newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [float(row["level"]) for row in rows] == [0, 0.5]
    for row in rows:
        ranks = [
            rank
            for level, rank in zip(*(strip[name].to_pylist() for name in ("level", "rank")), strict=True)
            if level == float(row["level"])
        ]
        assert len(ranks) == 20
        assert float(row["top1"]) == sum(rank == 0 for rank in ranks) / 20
    assert "taken from" in outer.path("logs/pack_images/shapes.log").read_text()
    assert outer.plan() == {}


def test_all_of_it_can_be_asked_for_in_another_place(outer, finished):
    configured = 'config["patchwork"]\n'
    outer.edit("Snakefile", configured, configured + textwrap.indent(REPLACED, "    "))
    outer.edit("Snakefile", "results/predictions", "patchwork_results/predictions")
    outer.path("config.yaml").write_text(
        yaml.safe_dump({"patchwork": yaml.safe_load(finished.path("config.yaml").read_text())})
    )
    shutil.copy2(finished.path("cnn.safetensors"), outer.path("cnn.safetensors"))
    shutil.copytree(finished.path("results"), outer.path("patchwork_results"))
    outer.path("patchwork_results/warehouse.duckdb").unlink()
    outer.run("patchwork_results/warehouse.duckdb", "--forcerun", "patchwork_build_warehouse")
    assert {path.name for path in outer.path("patchwork_logs").iterdir()} == {"build_warehouse.log"}
    query = "SELECT measure, count(*) FROM measures GROUP BY ALL ORDER BY ALL"
    with (
        duckdb.connect(outer.path("patchwork_results/warehouse.duckdb"), read_only=True) as moved,
        duckdb.connect(finished.path("results/warehouse.duckdb"), read_only=True) as first,
    ):
        assert moved.sql(query).fetchall() == first.sql(query).fetchall() != []
        [(view,)] = moved.sql("SELECT sql FROM duckdb_views() WHERE view_name = 'attention'").fetchall()
        parameters = "SELECT model, parameters FROM networks ORDER BY ALL"
        assert moved.sql(parameters).fetchall() == first.sql(parameters).fetchall() != []
    files = re.findall(r"'([^']+\.parquet)'", view)
    assert files and all(file.startswith("patchwork_results/") for file in files)
