"""Every block of commands, config and example of the pages works as it is printed.

A block of commands is run as it stands, in a folder where the configs that it names find stand-ins for their
data. There Snakemake only plans, and STAND_INS take the place of what needs a network, a screen or a cluster.
What is run for good by another test is in ELSEWHERE. So a new block is run, or fails here.
"""

import os
import re
import shutil
import subprocess
import sys

import duckdb
import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import stand_ins
from conftest import ROOT, Project, blocks, save_random_weights

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "config/README.md",
    *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]
TEXTS = {page: (ROOT / page).read_text() for page in sorted(PAGES)}
# Words of blocks, and the tests that run them in earnest.
ELSEWHERE = {
    **{
        ("docs/data.md", word): "tests/test_data_page.py"
        for word in ("tar -x", "zipfile", "<<'END'", "data/inat")
    },
    ("docs/reading.md", "ask "): "tests/test_documentation.py",
    ("README.md", "make test"): "Makefile",
    ("CONTRIBUTING.md", "make test"): "Makefile",
}
STAND_INS = {
    "git": 'mkdir -p "$(eval echo \\${$#})"',  # a clone of what is here would need its address
    "make": ":",  # sets up what runs this
    "nano": 'test -f "$1"',
    "scancel": ":",
    ".venv/bin/python": f'exec {sys.executable} "$@"',
    # Plans; what neither plans nor runs anything is done, and a report of provenance needs a finished run.
    ".venv/bin/snakemake": f"""case " $* " in
        *" --unlock "*|*" --list-rules "*) exec {sys.executable} -m snakemake "$@" ;;
        *" --report "*) exit 0 ;; # tests/test_pipeline.py makes one
    esac
    exec {sys.executable} -m snakemake "$@" --dry-run --quiet""",
}


def all_blocks(language):
    """[(page, block)] of all pages."""
    return [(page, block) for page, text in TEXTS.items() for block in blocks(text, language)]


def files_of(page):
    """{path: content} of the Python files that a page shows whole, each after its path."""
    found = re.findall(r"`([\w/]+\.py)`((?:(?!`[\w/]+\.py`).)*?)```python\n(.*?)```", TEXTS[page], re.S)
    return {path: content for path, _, content in found}


MINE = next(block for page, block in all_blocks("yaml") if page == "README.md")
COMMANDS = [
    (page, block)
    for page, block in all_blocks("sh")
    if not any(p == page and w in block for p, w in ELSEWHERE)
]
RUN = [
    pytest.param(*each, marks=[pytest.mark.slow] * bool(re.search("snakemake|pytest", each[1])))
    for each in COMMANDS
]
EXAMPLES = {**files_of("README.md"), **files_of("CONTRIBUTING.md")}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A clone in which commands only pretend, and everything is there that the configs name."""
    project = Project.create(tmp_path_factory.mktemp("world") / "patchwork", "config.yaml")
    for part in ("config", "tests"):
        shutil.copytree(ROOT / part, project.path(part), ignore=shutil.ignore_patterns("__pycache__"))
    project.path("mine.yaml").write_text(MINE)
    shutil.copy2(ROOT / "config/tiny.yaml", project.path("FILE"))
    for path, content in EXAMPLES.items():
        project.path(path).write_text(content)
    for name, script in STAND_INS.items():
        path = project.path(name if "/" in name else f"bin/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return project


def configs(block):
    """The configs that a block names; of several, the first, which the others change."""
    return {*re.findall(r"--configfile (\S+)", block)}


@pytest.mark.parametrize(("page", "block"), RUN, ids=[f"{p}-{n}" for n, (p, _) in enumerate(COMMANDS)])
def test_commands_work_as_they_are_printed(world, tmp_path, page, block):
    folder = Project(shutil.copytree(world.folder, tmp_path / "patchwork", symlinks=True)).folder
    for name in configs(block):
        stand_ins.make(yaml.safe_load((folder / name).read_text()), folder)
    if "before=" in block or "holes=" in block:  # of a run that was made
        stand_ins.touch(folder / "results/warehouse.duckdb")
        stand_ins.touch(folder / "results/predictions/shapes/vit/random_drop/8x8.parquet")
    if "theirs.pth" in block:
        import torch

        torch.save({"model": {"a": torch.ones(1)}, "epoch": 1}, folder / "theirs.pth")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}
    # What follows a clone is done in the clone, which is this folder.
    block = block.replace("git clone URL patchwork && cd patchwork", "git clone URL patchwork")
    done = subprocess.run(
        ["sh", "-e", "-c", block], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "theirs.pth" in block:
        assert {*torch.load(folder / "mine.pth", weights_only=True)} == {"a"}


def test_what_is_run_elsewhere_is_there():
    for (page, word), test in ELSEWHERE.items():
        assert any(p == page and word in block for p, block in all_blocks("sh")), (page, word)
        assert test == "Makefile" or page in (ROOT / test).read_text()
    targets = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.M)
    for _, block in all_blocks("sh"):
        assert {*re.findall(r"^make (\S+)", block, re.M)} - {"#"} <= {*targets, ".venv/run", ".venv/test"}


def schema():
    """That of configs, in which nothing is required: pages show parts."""
    told = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
    return told | {"required": []}


@pytest.mark.parametrize(("page", "block"), all_blocks("yaml"))
def test_configs_are_what_the_schema_allows(page, block):
    told, known = yaml.safe_load(block), schema()["properties"]
    if not told.keys() <= known.keys():
        told = told.get("patchwork", {"datasets": told})
    jsonschema.Draft202012Validator(schema()).validate(told)


def test_every_example_in_python_is_used():
    shown = {content for page, content in all_blocks("python") if page != "docs/sharing.md"}  # test_module.py
    assert shown == {*EXAMPLES.values()} and len(EXAMPLES) == 4


def test_links_lead_somewhere():
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, part = target.partition("#")
            if "://" in target:
                continue
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), (page, target)
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.M) if part else []
            anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert not part or part in anchors, (page, target)


def test_the_readme_leads_to_every_page_and_configs_that_are_named_are_there():
    for page in TEXTS:
        assert not page.startswith("docs/") or f"({page})" in TEXTS["README.md"], page
    for page, text in TEXTS.items():
        for name in re.findall(r"\bconfig/[\w-]+\.yaml", text):
            assert (ROOT / name).is_file(), (page, name)


@pytest.mark.slow
def test_the_examples_of_the_pages_take_part_in_a_run(project):
    for path, content in EXAMPLES.items():
        project.path(path).write_text(content)
    project.edit("config.yaml", "random_drop/4x4", "[random_drop/4x4, stripes]")
    project.edit("config.yaml", "measures: [token_similarity,", "measures: [token_length, token_similarity,")
    strips = [f"results/predictions/shapes/vit/{name}/plain.parquet" for name in ("upside_down", "stripes")]
    table, figure = "results/measures/shapes/shape/token_length.parquet", "results/figures/half_dropped.csv"
    project.run(*strips, table, figure)
    turned, striped = (pq.read_table(project.path(strip)).to_pylist() for strip in strips)
    assert {row["level"] for row in turned} == {0, 1} and not any(row["lost"] for row in turned)
    assert {(row["level"], row["lost"]) for row in striped} == {(0, 0), (0.25, 0.125), (0.5, 0.25), (1, 0.5)}
    lengths = pq.read_table(project.path(table)).to_pylist()
    assert len(lengths) == 20 and all(row["block"] == 1 and row["length"] > 0 for row in lengths)
    with duckdb.connect(project.path("results/warehouse.duckdb"), read_only=True) as db:
        rows = db.sql("SELECT model, top1 FROM accuracy WHERE perturbation = 'random_drop' AND level = 0.5")
        found = {model: top1 for model, top1 in rows.fetchall()}
    assert {*found} == {"vit", "cnn"}
    printed = project.path(figure).read_text()
    assert all(f"{top1:g}"[:4] in printed for top1 in found.values())
    assert "Half of the patches dropped" in project.path("results/figures/half_dropped.svg").read_text()


@pytest.mark.slow
def test_the_config_of_the_readme_runs(tmp_path, monkeypatch):
    project = Project.create(tmp_path / "project")
    project.path("mine.yaml").write_text(MINE)
    for number, name in enumerate(("n01440764", "n03888257")):
        file = project.path(f"data/photographs/{name}/one.jpg")
        file.parent.mkdir(parents=True)
        Image.effect_noise((240, 260), 50 + 100 * number).convert("RGB").save(file)
    save_random_weights(project.path("data/mine.safetensors"), {"timm": "resnet18"}, 1000)
    model = "deit_tiny_patch16_224.fb_in1k"
    cached = tmp_path / f"cache/hub/models--timm--{model}"
    (cached / "snapshots/0").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0")
    save_random_weights(cached / "snapshots/0/model.safetensors", {"timm": model}, 1000, seed=1)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    project.run("results/warehouse.duckdb", "--configfile", "mine.yaml")
    monkeypatch.chdir(project.folder)
    with duckdb.connect("results/warehouse.duckdb", read_only=True) as db:
        counted = db.sql("SELECT model, perturbation, max(level), count(*) FROM predictions GROUP BY ALL")
        found = {row[:2]: row[2:] for row in counted.fetchall()}
        assert db.sql("SELECT DISTINCT label FROM predictions ORDER BY ALL").fetchall() == [(0,), (701,)]
    cells = {"random_drop": (pytest.approx(0.9), 2 * (1 + 9 * 3)), "shuffle_grid": (256, 2 * (1 + 7 * 3))}
    assert found == {(model, name): told for model in ("deit", "mine") for name, told in cells.items()}
