"""The promises of the layout, so that they stay promises."""

import re

import pytest
import yaml

from conftest import ROOT

RULES = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
PACKAGE = sorted((ROOT / "scripts/patchwork").rglob("*.py"))
CONDA_NAMES = {"torch": "pytorch", "duckdb": "python-duckdb", "vl-convert-python": "vl-convert-python"}
CONDA_NAMES |= {"opencv-python-headless": "py-opencv"}


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split(" #")[0].split("==") for line in lines if "==" in line)


def test_a_rule_and_its_script_share_a_name():
    pairs = re.findall(r"^(?:rule|checkpoint) (\w+):.*?\"\.\./scripts/(\w+)\.py\"", RULES, re.S | re.M)
    assert len(pairs) == len(re.findall(r"^(?:rule|checkpoint) ", RULES, re.M))
    assert all(rule == script for rule, script in pairs)
    assert {script for _, script in pairs} == {path.stem for path in (ROOT / "scripts").glob("*.py")}


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_are_thin(path):
    assert len(path.read_text().splitlines()) <= 25


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.stem)
def test_the_package_knows_neither_snakemake_nor_paths_of_results(path):
    text = path.read_text()
    assert not re.search(r"^\s*(import|from) snakemake", text, re.M)
    assert "results/" not in text


@pytest.mark.parametrize("name", ["torch", "report"])
def test_conda_environments_name_the_pinned_versions(name):
    required = {CONDA_NAMES.get(key, key): version for key, version in pins("requirements.txt").items()}
    required["py-opencv"] = required["py-opencv"].rpartition(".")[0]  # without the build of its wheel
    listed = dict(
        line.split(" =") for line in yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
    )
    listed.pop("python")
    assert listed == {key: required.get(key) for key in listed}


def test_what_is_installed_alone_is_so_in_the_conda_environment():
    script = (ROOT / "envs/torch.post-deploy.sh").read_text()
    for package, version in pins("requirements-alone.txt").items():
        assert f"--no-deps {package}=={version}" in script


def test_the_constraints_hold_all_requirements():
    constraints = pins("constraints.txt")
    for name in ("requirements.txt", "requirements-test.txt", "requirements-test-alone.txt"):
        for package, version in pins(name).items():
            if package not in ("torch", "torchvision"):  # pinned once, beside the libraries of their GPU
                known = {key.lower(): value for key, value in constraints.items()}
                assert known[package] == version


def test_there_is_one_handler_of_each_kind():
    handlers = re.findall(r"^(onstart|onsuccess|onerror):", RULES, re.M)  # the last one would hold alone
    assert sorted(set(handlers)) == sorted(handlers) != []


def test_common_stays_readable():
    for path in (ROOT / "rules").glob("*.smk"):
        assert len(path.read_text().splitlines()) <= 130, path


def test_the_project_speaks_of_itself_alone():
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    text = "".join(path.read_text() for path in [*PACKAGE, *(ROOT / "tests").glob("*.py"), *pages])
    assert "/wo" + "rk/" not in text
