"""The profile of a cluster fits the rules, and what jobs ask for grows."""

import re
import subprocess
import sys

import pytest
import yaml
from snakemake.cli import get_argument_parser

from conftest import ROOT

PROFILE = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
RULES = dict(
    re.findall(
        r"^rule (\w+):(.*?)(?=^rule |\Z)",
        "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk"))),
        re.S | re.M,
    )
)


def test_snakemake_knows_every_setting_of_the_profile():
    """It is silent about one that it does not know."""
    options = get_argument_parser()._option_string_actions
    assert {f"--{key}" for key in PROFILE} <= options.keys()


def test_the_profile_sends_what_takes_a_gpu_to_one():
    assert set(PROFILE["set-resources"]) == {rule for rule, text in RULES.items() if "gpu=gpus" in text}
    assert set(PROFILE["set-threads"]) <= RULES.keys()


@pytest.mark.parametrize("rule", [rule for rule, text in RULES.items() if "localrule: True" not in text])
def test_what_is_submitted_asks_for_memory_and_time(rule):
    [memory_mb] = re.findall(r"mem_mb=growing\((\d+)\)", RULES[rule])
    assert int(memory_mb) >= 1000  # two Snakemakes are in every job
    assert "runtime=" in RULES[rule]


def test_a_finished_run_has_nothing_to_do_on_a_cluster(finished):
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--dry-run", "all"]
    told = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in told.stderr + told.stdout
