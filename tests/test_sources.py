"""Sets of torchvision's as image folders: laid out as it expects them, or served from this machine."""

import csv
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote_plus

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from conftest import ROOT
from patchwork import folders, sources
from test_fetching import no_proxy, serving  # noqa: F401 - a fixture

NAMES = ["F-16A/B", "Cessna 172", 'the "Spruce Goose"', "Érable", "..", "a_b", "a b", "a+b"]


def save(path):
    """An image of a colour of its own at a path, which is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = tuple(hashlib.blake2b(str(path).encode(), digest_size=3).digest())
    Image.new("RGB", (8, 8), color).save(path)
    return path


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


# Each lays out a small set in a folder and returns what its splits hold: {split: {file: name of its class}}.


def aircraft(root, _):
    data, splits = root / "fgvc-aircraft-2013b/data", {}
    write(data / "variants.txt", *NAMES)
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        numbers = {f"{first + k:07d}": NAMES[k % len(NAMES)] for k in range(10)}
        splits[split] = {save(data / f"images/{n}.jpg"): name for n, name in numbers.items()}
        write(data / f"images_variant_{split}.txt", *(f"{n} {name}" for n, name in numbers.items()))
    splits["trainval"] = splits["train"] | splits["val"]
    lines = (f"{file.stem} {name}" for file, name in splits["trainval"].items())
    write(data / "images_variant_trainval.txt", *lines)
    return splits


def textures(root, _):
    data, splits = root / "dtd/dtd", {}
    for number, split in enumerate(("train", "val", "test")):
        names = [f"{name}/{name}_{number}{k}.jpg" for name in ("polka-dotted", "banded") for k in range(3)]
        splits[split] = {save(data / "images" / name): name.split("/")[0] for name in names}
        write(data / f"labels/{split}1.txt", *names)
        write(data / f"labels/{split}2.txt", *names[:1])  # another partition
    return splits


def flowers(root, monkeypatch):
    data, splits = root / "flowers-102", {}
    labels, ids = [1, 2, 2, 12, 12, 1], {"trnid": [1, 4], "valid": [2, 5], "tstid": [6, 3]}
    names = {1: "pink primrose", 2: "hard-leaved pocket orchid", 12: "colt's foot"}
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        files = {save(data / f"jpg/image_{n:05d}.jpg"): names[labels[n - 1]] for n in ids[key]}
        splits[split] = files
    savemat(data / "imagelabels.mat", {"labels": [labels]})
    savemat(data / "setid.mat", {key: [numbers] for key, numbers in ids.items()})
    known = {key: (f"{name}.mat", md5(data / f"{name}.mat")) for key, name in KNOWN_FLOWERS}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", known)
    return splits


KNOWN_FLOWERS = ("label", "imagelabels"), ("setid", "setid")


def signs(root, _):
    data = root / "gtsrb"
    train = {
        save(data / f"GTSRB/Training/{n:05d}/00000_0000{k}.ppm"): f"{n:05d}" for n in (3, 12) for k in (0, 1)
    }
    test = {save(data / f"GTSRB/Final_Test/Images/{k:05d}.ppm"): f"{n:05d}" for k, n in enumerate((12, 3, 0))}
    rows = (f"{file.name};8;8;0;0;8;8;{int(name)}" for file, name in test.items())
    write(data / "GT-final_test.csv", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", *rows)
    return {"train": train, "test": test}


def scenes(root, monkeypatch):
    names = ["/a/airfield", "/f/field/wild", "/b/bar"]  # numbered in another order than the alphabet's
    write(root / "categories_places365.txt", *(f"{name} {n}" for n, name in enumerate(names)))
    train = {save(root / f"data_256_standard{name}/0000000{k}.jpg"): name for name in names for k in (1, 2)}
    val = {save(root / f"val_256/Places365_val_0000000{k}.jpg"): names[k] for k in range(3)}
    write(
        root / "places365_train_standard.txt",
        *(
            f"/{file.relative_to(root / 'data_256_standard')} {names.index(name)}"
            for file, name in train.items()
        ),
    )
    write(root / "places365_val.txt", *(f"{file.name} {names.index(name)}" for file, name in val.items()))
    lists = {"train-standard": "places365_train_standard.txt", "val": "places365_val.txt"}
    known = {split: (name, md5(root / name)) for split, name in lists.items()}
    monkeypatch.setattr(datasets.Places365, "_FILE_LIST_META", known)
    told = "categories_places365.txt"
    monkeypatch.setattr(datasets.Places365, "_CATEGORIES_META", (told, md5(root / told)))
    return {"train-standard": train, "val": val}


def organisms(root, _):
    old = {"Aves": (0, 2), "Plantae": (1, 3)}
    by_number = {
        version: {
            save(root / f"{version}/{kind}/{n}/{version}{n}{k}.jpg"): f"{kind}/{n}"
            for kind, numbers in old.items()
            for n in numbers
            for k in range(2)
        }
        for version in ("2018", "2019")
    }
    names = {
        "2017": ["Aves/Sula nebouxii", "Plantae/Acer rubrum"],
        "2021_valid": [f"0000{n}_Animalia_A_B_C_D_E_{name}" for n, name in enumerate(("one", "two"))],
    }
    (root / "2018/Aves/2/notes.txt").touch()
    return by_number | {
        version: {save(root / version / name / f"{version}{k}.jpg"): name for name in those for k in range(2)}
        for version, those in names.items()
    }


def alphabets(root, monkeypatch):
    data, splits, known = root / "omniglot-py", {}, {}
    for number, split in enumerate(("background", "evaluation")):
        names = [f"{name}/character0{k}" for name in ("Anglo-Saxon_Futhorc", "Early_Aramaic") for k in (1, 2)]
        splits[split] = {
            save(data / f"images_{split}/{name}/{number}{n}_0{k}.png"): name
            for n, name in enumerate(names)
            for k in range(2)
        }
        write(data / f"images_{split}.zip", split)
        known[f"images_{split}"] = md5(data / f"images_{split}.zip")
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", known)
    return splits


def imagenette(root, _):
    return {
        f"{split}{size}": {
            save(root / f"imagenette2{size.removesuffix('px')}/{split}/{name}/{name}_{split}{k}.JPEG"): name
            for name in ("n01440764", "n03888257")
            for k in range(2)
        }
        for size in ("", "-320px")
        for split in ("train", "val")
    }


LAID_OUT = {
    "FGVCAircraft": aircraft,
    "DTD": textures,
    "Flowers102": flowers,
    "GTSRB": signs,
    "Places365": scenes,
    "INaturalist": organisms,
    "Omniglot": alphabets,
    "Imagenette": imagenette,
}


def table(folder):
    with open(folder / "index.csv", newline="", encoding="utf-8") as opened:
        return [*csv.DictReader(opened)]


@pytest.mark.parametrize("name", sources.SETS)
def test_a_set_becomes_a_folder_of_links_per_class(name, tmp_path, monkeypatch):
    root = tmp_path / "data"
    for split, files in LAID_OUT[name](root, monkeypatch).items():
        folder = tmp_path / split
        sources.fetch(name, split, root, folder)
        rows = table(folder)
        assert {root / row["file"]: row["class"] for row in rows} == files
        assert [row["path"] for row in rows] == [path for _, path in folders.listing(folder / "images")]
        by_folder = {row["path"].split("/")[0]: row["class"] for row in rows}
        assert len(by_folder) == len(set(files.values()))
        for row in rows:
            link = folder / "images" / row["path"]
            assert link.is_symlink() and link.resolve() == (root / row["file"]).resolve()
            assert by_folder[row["path"].split("/")[0]] == row["class"]


def test_every_split_is_one_of_torchvision(tmp_path, monkeypatch):
    for name, source in sources.SETS.items():
        laid_out = LAID_OUT[name](tmp_path / name, monkeypatch)
        assert set(laid_out) <= set(source.splits)
        for split, files in laid_out.items():
            arguments, place = source.splits[split]
            assert len(getattr(datasets, name)(str(tmp_path / name), **arguments)) >= len(files)
            assert (tmp_path / name / place).exists()
        for whole, parts in source.parts.items():
            assert {whole, *parts} <= set(source.splits)


def test_all_versions_of_inaturalist_are_known():
    assert set(sources.SETS["INaturalist"].splits) == set(datasets.inaturalist.DATASET_URLS)


@given(st.lists(st.text(), unique=True))
def test_class_folders_are_safe_and_no_two_are_the_same(labels):
    made = [sources.class_folder(label) for label in labels]
    assert len(set(made)) == len(labels)
    for label, name in zip(labels, made, strict=True):
        assert name and name.isascii() and name.isprintable() and not name.startswith(".")
        assert not set(name) & set("/\\ \"'`$*?<>|&;()[]{}\n")
        assert unquote_plus(name) == label or not label


def test_common_names_of_classes_stay_as_they_are():
    for name in ("polka-dotted", "00012", "n01440764", "747-400", "00000_Animalia_Annelida", "A.B"):
        assert sources.class_folder(name) == name
    assert sources.class_folder("Cessna 172") == "Cessna+172"


def test_links_are_relative_if_the_root_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    textures(Path("data"), None)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").symlink_to("elsewhere")
    sources.fetch("DTD", "train", "data", "results/folders/train")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("data", "elsewhere"):
        (tmp_path / name).rename(moved / name)
    for row in table(moved / "elsewhere/folders/train"):
        link = moved / "elsewhere/folders/train/images" / row["path"]
        assert not Path(os.readlink(link)).is_absolute()
        assert link.read_bytes() == (moved / "data" / row["file"]).read_bytes()


def test_a_list_names_images_by_their_paths_in_root(tmp_path):
    files = organisms(tmp_path / "data", None)["2018"]
    write(tmp_path / "list.txt", "2018/Aves/2/201820.jpg", "2018/Plantae/1/201811")
    sources.fetch("INaturalist", "2018", tmp_path / "data", tmp_path / "made", tmp_path / "list.txt")
    rows = table(tmp_path / "made")
    assert [row["path"] for row in rows] == ["Aves%2F2/201820.jpg", "Plantae%2F1/201811.jpg"]
    assert all(files[tmp_path / "data" / row["file"]] == row["class"] for row in rows)
    write(tmp_path / "list.txt", "train_val2018/Aves/2/201820.jpg")
    with pytest.raises(ValueError, match=r"list\.txt names 'train_val2018/.*', but .*data has no such image"):
        sources.fetch("INaturalist", "2018", tmp_path / "data", tmp_path / "other", tmp_path / "list.txt")


# ---- Without and with a network. ----


def archive(folder):
    """A set in a folder as the bytes of its archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        opened.add(folder / "dtd/dtd", "dtd")
    return packed.getvalue()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The archive of a small DTD on a server: (what its splits hold, paths that were asked for)."""
    files = textures(tmp_path / "original", None)
    content = archive(tmp_path / "original")
    with serving({"/dtd.tar.gz": content}) as (address, asked):
        monkeypatch.setattr(datasets.DTD, "_URL", f"{address}/dtd.tar.gz")
        monkeypatch.setattr(datasets.DTD, "_MD5", hashlib.md5(content).hexdigest())
        yield files, asked


def names(files):
    return {(file.name, label) for file, label in files.items()}


def test_what_is_not_there_is_fetched_only_if_it_may_be(tmp_path, served):
    files, asked = served
    root = tmp_path / "data"
    with pytest.raises(FileNotFoundError, match=rf"DTD, train, is not whole in {root} .*`download: true`"):
        sources.fetch("DTD", "train", root, tmp_path / "train")
    assert not asked and not root.exists()
    sources.fetch("DTD", "train", root, tmp_path / "train", download=True)
    assert {(Path(row["file"]).name, row["class"]) for row in table(tmp_path / "train")} == names(
        files["train"]
    )
    once = len(asked)
    assert once
    sources.fetch("DTD", "test", root, tmp_path / "test", download=True)
    sources.fetch("DTD", "val", root, tmp_path / "val")
    assert len(asked) == once  # the archive holds all splits
    assert sorted(path.name for path in root.iterdir()) == [".fetching.lock", "dtd"]


def test_a_file_of_another_checksum_is_refused_and_leaves_nothing(tmp_path, served, monkeypatch):
    monkeypatch.setattr(datasets.DTD, "_MD5", "0" * 32)
    with pytest.raises(
        ValueError, match=r"what was fetched is not the DTD that torchvision knows: .*corrupted"
    ):
        sources.get("DTD", "train", tmp_path / "data", download=True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".fetching.lock"]


def test_a_server_that_lacks_the_file_is_told(tmp_path, served, monkeypatch):
    monkeypatch.setattr(datasets.DTD, "_URL", datasets.DTD._URL.replace("dtd.tar", "other.tar"))
    with pytest.raises(ValueError, match=r"DTD cannot be fetched \(.*Not Found.*\): try again, or put it in"):
        sources.get("DTD", "train", tmp_path / "data", download=True)


def test_an_archive_that_is_cut_short_is_told(tmp_path, monkeypatch):
    """torchvision knows no checksum of this one."""
    aircraft(tmp_path / "original", None)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        opened.add(tmp_path / "original/fgvc-aircraft-2013b", "fgvc-aircraft-2013b")
    with serving({"/a.tar.gz": packed.getvalue()[:-500]}) as (address, _):
        monkeypatch.setattr(datasets.FGVCAircraft, "_URL", f"{address}/a.tar.gz")
        with pytest.raises(ValueError, match="FGVCAircraft cannot be fetched"):
            sources.get("FGVCAircraft", "train", tmp_path / "data", download=True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".fetching.lock"]


def test_what_a_killed_job_left_is_no_image_and_what_is_lost_is_fetched_again(tmp_path, served):
    files, _ = served
    root = tmp_path / "data"
    sources.get("DTD", "train", root, download=True)
    lost = root / "dtd/dtd/images/banded/banded_00.jpg"
    content = lost.read_bytes()
    lost.unlink()
    write(root / ".fetching/dtd/dtd/labels/train1.txt", "banded/half.jpg")
    with pytest.raises(FileNotFoundError, match=r"not whole .*there is no .*banded_00\.jpg"):
        sources.get("DTD", "train", root)
    found = sources.get("DTD", "train", root, download=True)
    assert {(Path(file).name, label) for file, label in found} == names(files["train"])
    assert lost.read_bytes() == content and not (root / ".fetching").exists()


def test_jobs_that_fetch_to_one_root_wait_for_each_other(tmp_path, served):
    files, asked = served
    sources.get("DTD", "val", tmp_path / "alone", download=True)
    once = len(asked)
    with ThreadPoolExecutor(3) as pool:
        splits = ["train", "val", "test"]
        found = [*pool.map(lambda split: sources.get("DTD", split, tmp_path / "data", download=True), splits)]
    assert len(asked) == 2 * once
    for split, pairs in zip(splits, found, strict=True):
        assert {(Path(file).name, label) for file, label in pairs} == names(files[split])


# ---- What planning asks. ----


def test_splits_that_share_images_are_told(tmp_path):
    def entry(split, fetch="FGVCAircraft", **more):
        return {"fetch": fetch, "split": split, "root": "data", **more}

    assert sources.shared(entry("train"), entry("test")) is None
    assert sources.shared(entry("train"), entry("train", "DTD")) is None
    assert sources.shared(entry("val"), entry("trainval")) == "images of the split val of FGVCAircraft"
    assert sources.shared(entry("trainval"), entry("train")) and sources.shared(entry("test"), entry("test"))
    assert sources.shared(entry("2021_train", "INaturalist"), entry("2021_train_mini", "INaturalist"))
    assert sources.shared(entry(2018, "INaturalist"), entry("2018", "INaturalist"))
    assert sources.shared(entry("val", "Imagenette"), entry("val-320px", "Imagenette"))
    assert sources.shared(entry("train", "Imagenette"), entry("val-320px", "Imagenette")) is None
    write(tmp_path / "a.txt", "1.jpg", "", "2.jpg")
    write(tmp_path / "b.txt", "3.jpg", "")
    first, second = (entry("train", list=str(tmp_path / name)) for name in ("a.txt", "b.txt"))
    assert sources.shared(first, second) is None and sources.shared(first, first) == "1.jpg"


def test_a_root_without_the_set_is_told_unless_it_may_be_fetched(tmp_path):
    entry = {"fetch": "INaturalist", "split": 2018, "root": str(tmp_path)}
    assert sources.lacking(entry) == (
        f"there is no {tmp_path}/2018: put INaturalist there, or let it be fetched by `download: true`"
    )
    assert sources.lacking(entry | {"download": True}) is None
    (tmp_path / "2018").mkdir()
    assert sources.lacking(entry) is None


def test_planning_imports_no_torchvision():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import patchwork.settings; print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_images_are_what_torchvision_shows_for_the_same_classes(tmp_path):
    """The pixels behind the links of a class are those that torchvision has for it."""
    signs(tmp_path / "data", None)
    sources.fetch("GTSRB", "test", tmp_path / "data", tmp_path / "made")
    shown = {
        (np.asarray(image).tobytes(), f"{label:05d}")
        for image, label in datasets.GTSRB(tmp_path / "data", "test")
    }
    linked = {
        (np.asarray(Image.open(tmp_path / "made/images" / row["path"])).tobytes(), row["path"].split("/")[0])
        for row in table(tmp_path / "made")
    }
    assert linked == shown
