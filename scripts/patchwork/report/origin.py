"""What was run, with what, and when."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from patchwork.report import markup

PACKAGES = [
    *("snakemake", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow"),
    *("duckdb", "altair", "vl-convert-python"),
]


def summary(tables, seeds):
    """What was run, in a sentence."""
    names = {row["model"] for kind in ("models", "measures") for row in tables[kind]}
    seen = {
        row["dataset"]: f"{row['dataset']} ({markup.count(row['images'], 'image')}, "
        f"{markup.count(row['classes'], 'class', 'classes')})"
        for row in tables["datasets"]
    }
    seen = {row["dataset"]: row["dataset"] for row in tables["measures"]} | seen
    listed = f"; seed{'s'[: len(seeds) != 1]} {', '.join(map(str, seeds))}" * bool(seeds)
    return escape(f"{markup.count(len(names), 'model')} on {', '.join(seen.values())}{listed}.")


def origin(computations):
    """With what the predictions were computed; when and with what the page was made."""
    several = " Not all with the same software or on the same device." * (len(computations) > 1)
    told = f"Predictions computed with {'; '.join(computations)}.{several} " * bool(computations)
    made = f"Page made on {datetime.now(UTC):%Y-%m-%d at %H:%M} UTC"
    commit = git_commit()
    return escape(f"{told}{made}{f', commit {commit}' if commit else ''}, with {', '.join(versions())}.")


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
