"""What was run, with what, and when."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from patchwork.report import expenses, markup

PACKAGES = [
    *("snakemake", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow"),
    *("duckdb", "altair", "vl-convert-python"),
]


def summary(tables, seeds):
    """What was run, in a sentence."""
    seen = {
        row["dataset"]: f"{row['dataset']} ({markup.count(row['images'], 'image')}, "
        f"{markup.count(row['classes'], 'class', 'classes')})"
        for row in tables["datasets"]
    }
    # Readouts are told by the names of transfers and few_shots, which are no datasets.
    measured = [row["dataset"] for row in tables["measures"] if row["measure"] not in ("probe", "few_shot")]
    seen = dict(zip(measured, measured, strict=True)) | seen
    listed = f"; seed{'s'[: len(seeds) != 1]} {', '.join(map(str, seeds))}" * bool(seeds)
    return escape(f"{markup.count(len(models(tables)), 'model')} on {', '.join(seen.values())}{listed}.")


def models(tables):
    """The names of the models that were evaluated or measured, sorted."""
    return sorted({row["model"] for kind in ("models", "measures") for row in tables[kind]})


def origin(tables):
    """What was run, with what, and when, as a list of facts.

    tables: rows of the warehouse by name.
    """
    computations = [row["computed_with"] for row in tables["computations"]]
    several = " (not all with the same software or on the same device)" * (len(computations) > 1)
    [took] = [row for row in tables["cost_totals"] if row["per"] == "all" and row["recorded"]] or [None]
    measured = sorted({row["measure"].replace("_", " ") for row in tables["measures"]})
    known = {
        "models": ", ".join(models(tables)),
        "measures": ", ".join(measured),
        "computed with": f"{'; '.join(computations)}{several}" * bool(computations),
        "took": took and expenses.in_words(took),
    }
    return markup.facts(known | made(), '<dt>config</dt><dd><a href="#settings">as it was used</a></dd>')


def made():
    """When and with what a page is made: {name: words}."""
    return {
        "page made": f"{datetime.now(UTC):%Y-%m-%d at %H:%M} UTC",
        "commit": git_commit(),
        "made with": ", ".join(versions()),
    }


def versions():
    """Python and the packages that are installed here, with their versions."""
    yield f"Python {platform.python_version()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:  # environments hold what their rules need
            continue


def git_commit():
    """The commit of the code, with '-dirty' if files were changed since; '' outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def configuration(settings):
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True, width=100)
    code = f"<pre><code>{escape(text)}</code></pre>"
    return f"<details><summary>The config as it was used</summary>{code}</details>"
