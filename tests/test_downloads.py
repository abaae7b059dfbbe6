"""What has to be fetched is told with its size before it is fetched, and afterwards no network is needed."""

import csv
import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import hub
from torchvision import datasets

from conftest import Project
from patchwork import downloads, fetching, models, sources, urls
from test_fetching import WEIGHTS, Hub, Shelf, at_url, no_proxy, own_cache, serving, short, state  # noqa: F401
from test_sources import archive, textures

MEGABYTE = 1_000_000


def download(name, size_bytes, *folders, source="https://x.org/w.pth"):
    return downloads.Download(name, source, size_bytes, folders)


# ---- sizes ----


def test_the_size_of_a_url_is_what_its_server_tells(tmp_path):
    entry = {"timm": "test_vit", "weights": "", "sha256": "0" * 64}
    with serving({"/w.pth": b"x" * 1234}) as (address, asked):
        sizes = [
            downloads.of_model("m", entry | {"weights": f"{address}/{path}"}, "made").size_bytes
            for path in ("w.pth", "none.pth")
        ]
    assert sizes == [1234, None] and {command for command, _ in asked} == {"HEAD"}
    gone = downloads.of_model("m", entry | {"weights": f"{address}/w.pth"}, "made")
    assert gone == downloads.Download("models.m", f"{address}/w.pth", None, ("made", hub.get_dir()))
    fetching.kept(f"{address}/w.pth").parent.mkdir(parents=True)
    fetching.kept(f"{address}/w.pth").write_bytes(b"x" * 1234)
    assert downloads.of_model("m", entry | {"weights": f"{address}/w.pth"}, "made").size_bytes == 0


class Moved(Shelf):
    """Sends who asks for /old/... to /..., as releases on GitHub do."""

    def answer(self, body):
        if not self.path.startswith("/old/"):
            return super().answer(body)
        self.asked.append((self.command, self.path))
        self.send_response(302)
        self.send_header("Location", self.path.removeprefix("/old"))
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_the_size_of_a_file_that_has_moved_is_asked_for_without_its_bytes():
    with serving({"/w.pth": b"x" * 1234}, Moved) as (address, asked):
        assert urls.length(f"{address}/old/w.pth") == 1234
    assert asked == [("HEAD", "/old/w.pth"), ("HEAD", "/w.pth")]


def test_weights_of_timm_at_a_url_count_nothing_once_torch_keeps_them():
    with serving({"/net-300e.pth": b"x" * 1234}) as (address, _):
        first = downloads.of_model("m", at_url(f"{address}/net-300e.pth"), "made")
        folder = Path(hub.get_dir(), "checkpoints")
        folder.mkdir(parents=True)
        (folder / "net-300e.pth").write_bytes(b"x" * 1234)
        second = downloads.of_model("m", at_url(f"{address}/net-300e.pth"), "made")
    assert first.size_bytes == 1234 and first.folders == ("made", hub.get_dir())
    assert second.size_bytes == 0


def test_weights_that_timm_does_not_have_are_of_unknown_size():
    for name in ("test_vit.bogus", "vgg_normalised"):
        assert downloads.of_model("m", {"timm": name}, "made").size_bytes is None


ARCHIVES = {
    ("FGVCAircraft", "test"): ["fgvc-aircraft-2013b.tar.gz"],
    ("DTD", "val"): ["dtd-r1.0.1.tar.gz"],
    ("Flowers102", "train"): ["102flowers.tgz", "imagelabels.mat", "setid.mat"],
    ("GTSRB", "train"): ["GTSRB-Training_fixed.zip"],
    ("GTSRB", "test"): ["GTSRB_Final_Test_GT.zip", "GTSRB_Final_Test_Images.zip"],
    ("Places365", "val"): ["filelist_places365-standard.tar", "val_256.tar"],
    ("INaturalist", "2018"): ["train_val2018.tar.gz"],
    ("Omniglot", "background"): ["images_background.zip"],
    ("Imagenette", "train"): ["imagenette2.tgz"],
    ("Imagenette", "val-320px"): ["imagenette2-320.tgz"],
}


@pytest.mark.parametrize(("name", "split"), ARCHIVES)
def test_the_archives_of_a_set_are_known_without_fetching_them(name, split):
    found = sources.archives(name, split)
    assert sorted(Path(url).name for url in found) == ARCHIVES[name, split]


def test_every_set_has_archives():
    assert {name for name, _ in ARCHIVES} == {*sources.SETS}


def test_an_archive_is_weighed_twice_until_it_is_unpacked(tmp_path, monkeypatch):
    entry = {"fetch": "DTD", "split": "train", "root": str(tmp_path / "data")}
    with serving({"/dtd.tar.gz": b"x" * 1234}) as (address, asked):
        monkeypatch.setattr(datasets.DTD, "_URL", f"{address}/dtd.tar.gz")
        [found] = downloads.of_dataset("train", entry)
        assert asked == [("HEAD", "/dtd.tar.gz")]
        (tmp_path / "data/dtd/dtd").mkdir(parents=True)
        assert downloads.of_dataset("train", entry) == []
    assert found == downloads.Download("datasets.train", f"{address}/dtd.tar.gz", 1234, (entry["root"],) * 2)


def test_what_two_entries_need_is_counted_once():
    first, second, other = download("a", 1, "x"), download("b", 1, "x"), download("c", 1, "y")
    assert downloads.once([first, second, other]) == [first, other]


# ---- room ----


def test_room_is_told_for_each_disk(tmp_path, small_disk):
    found = [
        download("a", MEGABYTE, str(tmp_path / "not/there/yet"), str(small_disk)),
        download("b", None, str(tmp_path), source="b"),
        download("c", 10, f"{small_disk}/below", source="c"),
        download("d", 0, str(tmp_path), source="d"),
    ]
    rooms = downloads.disks(found)
    assert {folder: size for folder, (size, _) in rooms.items()} == {
        tmp_path: MEGABYTE,
        small_disk: MEGABYTE + 10,
    }
    assert rooms[small_disk][1] == 256 << 10
    with pytest.raises(
        ValueError, match=f"^the disk of {small_disk} has 0.3 MB free, and 1.0 MB are needed: "
    ):
        downloads.check_room(rooms)
    downloads.check_room({folder: room for folder, room in rooms.items() if folder == tmp_path})
    lines = downloads.table(found, rooms).splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["a", "1.0", "MB", "https://x.org/w.pth"],
        ["b", "unknown", "b"],
        ["c", "0.0", "MB", "c"],
        ["d", "in", "a", "cache", "d"],
        ["together", "1.0", "MB", "and", "1", "of", "unknown", "size"],
    ]


# ---- all of it ----

CONFIG = """\
datasets:
  away: {{root: data/nowhere}}
  textures: {{fetch: DTD, split: train, root: data/textures, download: true}}
  sin: {{stylize: away, styles: away, stylizer: adain}}
pixels: {{resize: 32, crop: 32, interpolation: bilinear}}
models:
  hub:   {{family: all, timm: test_vit}}
  named: {{family: all, timm: test_resnet, weights: {address}/net-{digits}.safetensors}}
  local: {{family: all, timm: test_resnet, weights: own.safetensors}}
  drawn: {{family: all, timm: test_resnet, weights: random}}
stylizers:
  adain: {{encoder: named, layers: [layer1], decoder: "{address}/decoder.pth", sha256: {sha256}}}
studies:
  one: {{datasets: [away, textures, sin], models: all, perturbations: clean}}
seeds: [0]
"""

ELSEWHERE = """
from torchvision import datasets

datasets.DTD._URL, datasets.DTD._MD5 = "{address}/dtd.tar.gz", "{md5}"
"""


def test_all_is_weighed_before_it_is_fetched_and_then_no_network_is_needed(tmp_path, monkeypatch):
    project = Project.create(tmp_path / "project")
    published, other = save(state({"timm": "test_vit"})), save(state({"timm": "test_resnet"}))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    textures(tmp_path / "original", None)
    packed = archive(tmp_path / "original")
    torch.save({"1.weight": torch.ones(3)}, tmp_path / "decoder.pth")
    decoder = (tmp_path / "decoder.pth").read_bytes()
    files = {WEIGHTS: published, f"/net-{short(other)}.safetensors": other}
    files |= {"/decoder.pth": decoder, "/dtd.tar.gz": packed}
    with serving(files, Hub) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with open(project.path("scripts/patchwork/without_compiler.py"), "a") as opened:  # before torchvision
            opened.write(ELSEWHERE.format(address=address, md5=hashlib.md5(packed).hexdigest()))
        told = {"digits": short(other), "sha256": hashlib.sha256(decoder).hexdigest()}
        project.path("config.yaml").write_text(CONFIG.format(address=address, **told))
        told = project.run("fetch_all")
    first = [each for each in asked if not each[1].startswith("/api/")][:4]
    assert sorted(first) == sorted(("HEAD", path) for path in files if "/elsewhere/" not in path)
    assert told.index("together") < told.index("rule fetch_weights")
    for name, content in {"hub": published, "named": other}.items():
        assert project.path(f"results/weights/fetched/{name}.safetensors").is_file()
        assert f"models.{name}" in told and f"{len(content) / 1e6:.1f} MB" in told
    with open(project.path("results/downloads.csv"), newline="") as opened:
        rows = [(row["name"], int(row["size_bytes"])) for row in csv.DictReader(opened)]
    assert sorted(rows) == [
        ("datasets.textures", len(packed)),
        ("models.hub", len(published)),
        ("models.named", len(other)),
        ("stylizers.adain.decoder", len(decoder)),
    ]
    kept, _ = models.load(project.path("results/decoders/adain.safetensors"))
    assert {name: value.tolist() for name, value in kept.items()} == {"1.weight": [1, 1, 1]}
    # The hub's cache is enough without it.
    project.path("results/weights/fetched/hub.safetensors").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = project.run("fetch_all")
    assert re.search(r"models\.hub +in a cache  timm/test_vit", told) and "models.named" not in told
    assert project.path("results/weights/fetched/hub.safetensors").is_file()
    # What was fetched stays; the rest, here a file and random weights, needs no network.
    project.edit("config.yaml", "root: data/nowhere", "draw: natural, images: 10, size: 32")
    save_file(state({"timm": "test_resnet"}), project.path("own.safetensors"))
    with open(project.path("results/folders/textures/index.csv"), newline="") as opened:
        assert {row["class"] for row in csv.DictReader(opened)} == {"banded", "polka-dotted"}
    plan = project.run("--dry-run")
    assert "fetch_images" not in plan and "fetch_decoder" not in plan and "train_stylizer" in plan
    assert set(re.findall(r"results/weights/fetched/(\w+)\.safetensors\n    log", plan)) == {"local", "drawn"}
