"""The warehouse explains itself and answers the questions of docs/reading.md; pages that list tell all."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import ROOT, blocks
from patchwork import reference

PAGE = (ROOT / "docs/reading.md").read_text().split("## Ask the data")[1].split("\n## ")[0]
BLOCKS = blocks(PAGE, "sh")
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


# The names that rules have for paths, from all of them.
NAMED = dict(
    re.findall(
        r'^([A-Z_]+) = "(results/.*?)"',
        "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")),
        re.M,
    )
)


def keys_of(schema, path=()):
    """Every key that a schema knows, with what it says of it: (path, entry)."""
    for name, entry in schema.get("properties", {}).items():
        yield (*path, name), entry
        yield from keys_of(entry, (*path, name))
    if isinstance(below := schema.get("additionalProperties"), dict):
        yield from keys_of(below, path)


def test_pages_that_are_made_are_what_the_code_says():
    made = reference.pages(ROOT / "rules", ROOT / "reports")
    assert {*made} == {"configuration.md", "columns.md"}
    for name, text in made.items():
        assert (ROOT / "docs" / name).read_text() == text, "make reference"
    assert not re.search(r"^None$|\| None \|", made["columns.md"], re.M), (
        "explain the column in reports/glossary.csv"
    )


def test_operations_of_all_networks_of_the_configs_are_known():
    networks = reference.networks([ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml")])
    assert networks == json.loads((ROOT / "rules/operations.json").read_text()).keys(), "make reference"


def test_every_key_is_explained_and_stands_on_the_page():
    keys = dict(keys_of(yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())))
    assert len(keys) > 100 and [path for path, entry in keys.items() if not entry.get("description")] == []
    told = (ROOT / "docs/configuration.md").read_text()
    assert {path[-1] for path in keys} <= set(re.findall(r"(?:`|## |\.)(\w+)", told))


def test_columns_are_those_of_a_run(finished):
    """Whatever columns files of a run have, the page lists them with their types."""
    sections = (ROOT / "docs/columns.md").read_text().split("\n## ")[1:]
    told = {
        each.split("\n")[0]: dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", each, re.M)) for each in sections
    }
    places = {"predictions": "predictions/*/*/*/*", "images": "images/*", "foreground": "foreground/*/*"}
    places |= {"epochs": "trainings/*", "probe": "readouts/*/*/probe", "few_shot": "readouts/*/*/few_shot"}
    places["attention_placed"] = "measures/*/*/attention"  # which has those, and more
    for name, columns in told.items():
        files = [*finished.path("results").glob(f"{places.get(name, f'measures/*/*/{name}')}.parquet")]
        assert files, name
        for file in files:
            found = {f.name: str(f.type).replace("element", "item") for f in pq.read_schema(file)}
            kinds = {column: reference.TYPES.get(kind, kind) for column, kind in found.items()}
            assert columns.items() <= kinds.items()
            # An index has columns of its dataset's own.
            assert name in ("images", "attention_placed") or columns == kinds


def test_every_file_that_a_rule_writes_has_a_row():
    """Of every output of every rule the page has the path."""
    outputs = set()
    for path in (ROOT / "rules").glob("*.smk"):
        text = path.read_text()
        for block in re.findall(r"^    output:\n(.*?)^    log:", text, re.S | re.M):
            outputs |= {*re.findall(r'"(results/.*?)"', block)}
            outputs |= {NAMED[name] for name in re.findall(r"\b([A-Z_]{4,})\b", block)}
    assert len(outputs) > 30
    told = (ROOT / "docs/files.md").read_text()
    written = {re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), output) for output in outputs}
    assert {path for path in written if f"`{path}`" not in told} == set()
    folders = {
        *re.findall(r"results/(\w+)", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")))
    }
    assert folders <= {*re.findall(r"results/(\w+)", told)}
