"""The warehouse explains itself and answers the questions of docs/reading.md; pages that list tell all."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT
from patchwork import reference

PAGE = (ROOT / "docs/reading.md").read_text().split("## Ask the data")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
QUERIES = re.findall(r'^ask "(.*?)"$', "\n".join(BLOCKS), re.M | re.S)


@pytest.fixture
def opened(finished, monkeypatch):
    """The warehouse as anybody opens it, in the folder of the run."""
    monkeypatch.chdir(finished.folder)
    with duckdb.connect("results/warehouse.duckdb", read_only=True) as db:
        yield db


def test_views_find_their_files_and_no_others(opened, finished):
    for view, pattern in [
        ("predictions", "predictions/*/*/*/*"),
        ("images", "images/*"),
        ("probe", "readouts/*/*/probe"),
    ]:
        files = sorted(finished.path("results").glob(f"{pattern}.parquet"))
        counted = sum(pq.read_metadata(file).num_rows for file in files)
        if view != "images":  # of those which models are trained on nothing is asked
            assert opened.sql(f"SELECT count(*) FROM {view}").fetchall() == [(counted,)] != [(0,)]
    assert opened.sql("SELECT DISTINCT dataset FROM images ORDER BY ALL").fetchall() == [
        (name,) for name in ("conflict", "shapes", "train")
    ]
    [strip] = opened.sql(
        "SELECT DISTINCT variant FROM predictions WHERE perturbation = 'salient_drop'"
    ).fetchall()
    assert strip == ("area",)


def test_every_relation_and_every_column_says_what_it_is(opened):
    relations = opened.sql(
        "SELECT table_name, comment FROM duckdb_tables() "
        "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    assert [name for name, comment in relations if not comment] == []
    columns = opened.sql(
        "SELECT table_name || '.' || column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    assert len(columns) > 500
    assert [name for name, comment in columns if not comment] == [], "explain it in reports/glossary.csv"
    told = dict(relations)
    assert told["datasets"].startswith("What there is to see. Chance is")  # as above its definition
    assert told["predictions"].startswith("Every decision")


def test_the_glossary_explains_nothing_that_is_not_there(opened):
    with open(ROOT / "reports/glossary.csv", newline="") as glossary:
        entries = [(row["relation"], row["column"]) for row in csv.DictReader(glossary)]
    assert len(set(entries)) == len(entries)
    there = set(opened.sql("SELECT table_name, column_name FROM duckdb_columns()").fetchall())
    relations, columns = ({pair[place] for pair in there} for place in (0, 1))
    # Only stylized, and published, datasets have these.
    columns |= {"content", "style"}
    for relation, column in entries:
        if relation and column:
            assert (relation, column) in there
        else:
            assert relation in relations or column in columns, (relation, column)


def test_all_questions_are_found():
    assert len(QUERIES) == "".join(BLOCKS).count('\nask "') >= 7


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_question_of_the_page_has_an_answer(opened, query):
    rows = opened.sql(query).fetchall()
    assert rows and all(any(value is not None for value in row) for row in rows)


def test_questions_can_be_asked_as_they_are_printed(finished):
    script = "".join(BLOCKS).replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=finished.folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count("┌") >= len(QUERIES)
    assert Path(finished.path("results/warehouse.duckdb.wal")).exists() is False


def keys_of(schema, path=()):
    """Every key that a schema knows, with what it says of it: (path, entry)."""
    for name, entry in schema.get("properties", {}).items():
        yield (*path, name), entry
        yield from keys_of(entry, (*path, name))
    if isinstance(below := schema.get("additionalProperties"), dict):
        yield from keys_of(below, path)


def test_the_page_of_keys_is_what_the_schema_says():
    schema = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
    told = (ROOT / "docs/configuration.md").read_text()
    assert told == reference.page(schema), "make reference"
    keys = dict(keys_of(schema))
    assert len(keys) > 100 and [path for path, entry in keys.items() if not entry.get("description")] == []
    assert {path[-1] for path in keys} <= set(re.findall(r"(?:`|## |\.)(\w+)`?", told))
