"""All kinds of sources in one run, from a server on this machine, and the rest of it without any."""

import csv
import hashlib
import io
import json
import re
import tarfile

import duckdb
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save, save_file

from conftest import Project
from patchwork import models
from test_fetching import WEIGHTS, Hub, no_proxy, own_cache, serving, short, state  # noqa: F401 - fixtures
from test_sources import save as save_image

# Imagenette's classes and which of ImageNet's they are.
CLASSES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
ARCHIVE = "/imagenette2-320.tgz"
ELSEWHERE = """
from torchvision import datasets

datasets.Imagenette._ARCHIVES["320px"] = ("{address}{archive}", "{md5}")
"""


def imagenette(folder, images):
    """The bytes of an archive as Imagenette's, with so many images of each class and split."""
    for split in ("train", "val"):
        for name in CLASSES:
            for number in range(images):
                save_image(folder / f"imagenette2-320/{split}/{name}/{name}_{split}{number}.JPEG")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        opened.add(folder / "imagenette2-320", "imagenette2-320")
    return packed.getvalue()


def from_here(project, address, archive, images):
    """Let torchvision fetch Imagenette, with fewer images, from this machine; what is appended is read before
    torchvision is."""
    project.edit("rules/datasets.yaml", "files: 13394", f"files: {2 * images * len(CLASSES)}")
    with open(project.path("scripts/patchwork/without_compiler.py"), "a") as opened:
        md5 = hashlib.md5(archive).hexdigest()
        opened.write(ELSEWHERE.format(address=address, archive=ARCHIVE, md5=md5))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of the config for Imagenette, where the hub's cache and token are those of the test."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    return Project.create(tmp_path / "project", "config/imagenette.yaml")


def change(project, models, **others):
    """Give the config other models and, by name, other sections."""
    config = yaml.safe_load(project.path("config.yaml").read_text()) | {"models": models, **others}
    project.path("config.yaml").write_text(yaml.safe_dump(config))


def labels(project, dataset):
    rows = pq.read_table(project.path(f"results/images/{dataset}.parquet")).to_pylist()
    return {row["class_name"]: row["label"] for row in rows}


def test_what_the_first_real_run_fetches_is_told_without_a_network(project, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    said = project.run("check_data")
    assert "\n0 found, 5 to fetch (snakemake fetch_all)\n" in said
    for name in ("datasets.imagenette.root", "models.deit_small", "models.resnet50", "models.swin_tiny"):
        assert re.search(rf"^{name} +to fetch ", said, re.M)
    said = project.run("--dry-run")
    assert re.search(r"^fetch_images +2\nfetch_weights +3$", said, re.M)
    [(jobs, left, hours)] = re.findall(r"^together +(\d+) +(\d+) +[\d,]+ +([\d.]+) +[\d.]+$", said, re.M)
    assert jobs == left == "19" and 0.1 < float(hours) < 2


def test_a_list_of_what_is_fetched_is_missed_before_anything_is_weighed(project):
    project.edit("config.yaml", "images: 50}", "images: 50, list: data/few.txt}")
    said = project.run("fetch_all", check=False)
    assert "datasets.few.list: there is no file data/few.txt; docs/data.md tells of lists" in said
    assert "rule weigh_downloads" not in said


@pytest.mark.slow
def test_every_kind_of_source_is_fetched_by_one_command_and_the_rest_needs_no_network(
    project, tmp_path, monkeypatch
):
    vit, resnet = save(state({"timm": "test_vit"})), save(state({"timm": "test_resnet"}))
    torch.save({"state_dict": state({"timm": "test_resnet"}, seed=4)}, tmp_path / "told.pth.tar")
    told, packed = (tmp_path / "told.pth.tar").read_bytes(), imagenette(tmp_path / "original", 2)
    hashed = f"/vit-{short(vit)}.safetensors", f"/resnet-{short(resnet)}.safetensors"
    files = {WEIGHTS: vit, hashed[0]: vit, hashed[1]: resnet, "/plain.safetensors": resnet}
    files |= {"/released/v0/deit_t.pth.tar": told, ARCHIVE: packed}
    save_file(state({"timm": "test_resnet"}), project.path("own.safetensors"))
    with serving(files, Hub) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        from_here(project, address, packed, 2)
        overlay = {"url": address + hashed[0], "hf_hub_id": None}
        cnn, unknown = {"family": "cnn", "timm": "test_resnet"}, f"{address}/released/v0/deit_t.pth.tar"
        sha256 = hashlib.sha256(resnet).hexdigest()
        chosen = {
            "hub": {"family": "vit", "timm": "test_vit"},
            "torch": {"family": "vit", "timm": "test_vit", "options": {"pretrained_cfg_overlay": overlay}},
            "hashed": cnn | {"weights": address + hashed[1]},
            "plain": cnn | {"weights": f"{address}/plain.safetensors", "sha256": sha256},
            "first": cnn | {"weights": unknown, "sha256": "unknown"},
            "second": cnn | {"weights": unknown, "sha256": "unknown"},
            "local": cnn | {"weights": "own.safetensors"},
        }
        study = {"datasets": "few", "models": ["vit", "cnn"], "perturbations": "clean"}
        change(project, chosen, studies={"one": study}, saliency={"model": "hub"}, levels={})
        said = project.run("fetch_all")
    # How large each is, before the first is fetched; what two models share is one.
    assert said.index("together") < min(
        said.index(f"rule {rule}") for rule in ("fetch_weights", "fetch_images")
    )
    with open(project.path("results/downloads.csv"), newline="") as opened:
        sizes = {row["name"]: int(row["size_bytes"]) for row in csv.DictReader(opened)}
    assert sizes == {
        "models.hub": len(vit),
        "models.torch": len(vit),
        "models.hashed": len(resnet),
        "models.plain": len(resnet),
        "models.first": len(told),
        "datasets.few": len(packed),
    }
    got = [path for command, path in asked if command == "GET"]
    assert all(got.count(path) == 1 for path in files if path != WEIGHTS)
    # What nobody has told of a file is told, and kept with what was made of it.
    sha256 = hashlib.sha256(told).hexdigest()
    for name in ("first", "second"):
        assert f"sha256: {sha256}  # of models.{name}, {unknown}" in said.splitlines()
        _, metadata = models.load(project.path(f"results/weights/fetched/{name}.safetensors"))
        assert json.loads(metadata["sha256"]) == sha256

    # The server is gone: caches give the weights once more, and the other jobs need no network.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = "hub", "torch", "second", "local"
    for name in asked[:3]:
        project.path(f"results/weights/fetched/{name}.safetensors").unlink()
    change(project, chosen, studies={"one": study | {"models": [*asked]}})
    project.run("results/warehouse.duckdb")
    assert labels(project, "few") == CLASSES
    for name in asked:
        strip = pq.read_table(project.path(f"results/predictions/few/{name}/clean/plain.parquet"))
        ranks = strip["rank"].to_pylist()
        assert len(ranks) == 20 and 0 <= min(ranks) <= max(ranks) < 1000
    with duckdb.connect(project.path("results/warehouse.duckdb"), read_only=True) as db:
        origins = db.sql("SELECT model, weights, sha256 FROM networks").fetchall()
    own = hashlib.sha256(project.path("own.safetensors").read_bytes()).hexdigest()
    assert {*origins} == {
        ("hub", "timm's hub", None),
        ("torch", "timm's hub", None),
        ("second", f"{unknown}, whose sha256 nobody told", sha256),
        ("local", "own.safetensors", own),
    }


@pytest.mark.slow
def test_the_first_real_run_fetches_what_it_needs_and_ends_in_a_report(project, tmp_path, monkeypatch):
    """The config for Imagenette as it comes, but for the networks, which are small ones of timm's."""
    networks = {"deit_small": "test_vit", "resnet50": "test_resnet", "swin_tiny": "test_vit2"}
    packed = imagenette(tmp_path / "original", 3)
    files = {ARCHIVE: packed}
    for name in networks.values():
        files[f"/timm/{name}.r160_in1k/resolve/main/model.safetensors"] = save(state({"timm": name}))
    config = yaml.safe_load(project.path("config.yaml").read_text())
    change(project, {name: entry | {"timm": networks[name]} for name, entry in config["models"].items()})
    with serving(files, Hub) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        from_here(project, address, packed, 3)
        project.run()
    assert labels(project, "imagenette") == labels(project, "few") == CLASSES
    report = project.path("results/report.html").read_text()
    assert all(re.search(rf"\b{name}\b", report) for name in networks)
    assert project.plan() == {}
