"""The commands of docs/data.md, run in folders where archives lie that look like the published ones."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import ROOT, blocks
from patchwork import entries, folders, sources
from test_sources import organisms, save, write

PAGE = (ROOT / "docs/data.md").read_text()


def run(word, folder):
    """Run the commands in which a word stands, in a folder."""
    [block] = [block for block in blocks(PAGE, "sh") if word in block]
    (folder / "data").mkdir(exist_ok=True)
    commands = block.replace(".venv/bin/python", sys.executable)
    subprocess.run(["sh", "-e", "-c", commands], cwd=folder, check=True)


def pack(path, content, kind="w"):
    """A tar archive at a path of {name: bytes}."""
    with tarfile.open(path, kind) as opened:
        for name, content_of_file in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(content_of_file)
            opened.addfile(member, io.BytesIO(content_of_file))


def image(path):
    """The bytes of an image file of its own colour."""
    return save(path).read_bytes()


def test_every_entry_is_one_of_a_config():
    schema = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
    known = schema["properties"]["datasets"]["additionalProperties"]["properties"]
    told = {name: entry for block in blocks(PAGE, "yaml") for name, entry in yaml.safe_load(block).items()}
    assert len(told) > 10
    for name, entry in told.items():
        assert entry.keys() <= known.keys(), name
        assert entry.get("expects") in {None, *known["expects"]["enum"]}
        assert "fetch" not in entry or not [*sources.problems(entry)]
    stylized = told["sin_train"]
    assert stylized["styles"] in told and not [*entries.fetch_problems({"datasets": told})]


def test_the_archive_of_imagenet_s_training_images_becomes_a_folder_per_class(tmp_path):
    inner = {}
    for name in ("n01440764", "n01443537"):
        pack(tmp_path / "inner.tar", {f"{name}_{k}.JPEG": image(tmp_path / "a.jpg") for k in range(2)})
        inner[f"{name}.tar"] = (tmp_path / "inner.tar").read_bytes()
    pack(tmp_path / "ILSVRC2012_img_train.tar", inner)
    [block] = [block for block in blocks(PAGE, "sh") if "ILSVRC2012_img_train" in block]
    commands = block.replace(block.splitlines()[-1], "")  # the last reads the validation images and the kit
    assert "torchvision" not in commands
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True)
    found = folders.listing(tmp_path / "data/imagenet/train")
    assert found == [(f"n0144{n}", f"n0144{n}/n0144{n}_{k}.JPEG") for n in ("0764", "3537") for k in (0, 1)]
    assert len([*(tmp_path / "data/imagenet/train").iterdir()]) == 2


def test_the_archives_of_imagenet_c_and_voc_lie_where_the_config_says(tmp_path):
    for name in ("blur", "digital", "extra", "noise", "weather"):
        pack(tmp_path / f"{name}.tar", {f"{name}y/1/n01440764/a.JPEG": b""})
    run("noise weather", tmp_path)
    assert (tmp_path / "data/imagenet-c/noisey/1/n01440764/a.JPEG").is_file()
    pack(tmp_path / "VOCtrainval_11-May-2012.tar", {"VOCdevkit/VOC2012/JPEGImages/a.jpg": b""})
    run("VOCtrainval", tmp_path)
    assert (tmp_path / "data/VOC2012/JPEGImages/a.jpg").is_file()


def test_paintings_are_those_that_can_be_read_and_are_large_enough(tmp_path):
    content = {}
    for name, size in (("fits", (224, 300)), ("narrow", (223, 900)), ("grey", (300, 224))):
        Image.new("L" if name == "grey" else "RGB", size).save(tmp_path / "a.jpg")
        content[name] = (tmp_path / "a.jpg").read_bytes()
    content |= {"short": content["fits"][:-500], "none": b"no image"}
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as opened:
        for name, packed in content.items():
            opened.writestr(f"train/{name}.jpg", packed)
    run("train.zip", tmp_path)
    assert folders.below(tmp_path / "data/paintings") == ["train/fits.jpg", "train/grey.jpg"]
    assert len([*(tmp_path / "data/paintings_left_out").iterdir()]) == 3


def test_the_lists_of_cub_are_its_own_parts(tmp_path):
    birds = [f"{n:03d}.Bird/Bird_{n}_{k}.jpg" for n in (1, 2) for k in range(3)]
    tables = {
        "images.txt": "".join(f"{number} {path}\n" for number, path in enumerate(birds, 1)),
        "train_test_split.txt": "".join(f"{number} {number % 2}\n" for number in range(1, 7)),
    }
    content = {f"CUB_200_2011/{name}": text.encode() for name, text in tables.items()}
    content |= {f"CUB_200_2011/images/{path}": image(tmp_path / "a.jpg") for path in birds}
    pack(tmp_path / "CUB_200_2011.tgz", content | {"attributes.txt": b""}, "w:gz")
    run("train_test_split", tmp_path)
    data = tmp_path / "data/CUB_200_2011"
    for name, paths in (("train", birds[::2]), ("test", birds[1::2])):
        assert [path for _, path in folders.listing(data / "images", listed=data / f"{name}.txt")] == paths


def test_the_lists_of_fungi_are_its_own_parts(tmp_path):
    names = {"train": "10_Amanita muscaria/1.JPG", "val": "11_Boletus/2.JPG"}
    told = {part: {"images": [{"id": 1, "file_name": f"images/{name}"}]} for part, name in names.items()}
    pictures = {f"images/{name}": image(tmp_path / "a.jpg") for name in names.values()}
    pack(tmp_path / "fungi_train_val.tgz", pictures, "w:gz")
    lists = {f"{part}.json": json.dumps(entry).encode() for part, entry in told.items()}
    pack(tmp_path / "train_val_annotations.tgz", lists, "w:gz")
    run("fungi", tmp_path)
    data = tmp_path / "data/fungi"
    for part, name in names.items():
        found = folders.listing(data / "images", listed=data / f"{part}.txt")
        assert found == [(name.split("/")[0], name)]


def test_the_lists_of_inaturalist_are_its_own_parts(tmp_path):
    root, parts = tmp_path / "data/inaturalist", {}
    for year in ("2018", "2019"):
        files = [*organisms(root, None)[year]]
        for part, chosen in (("train", files[::2]), ("val", files[1::2])):
            names = [f"train_val{file.relative_to(root).as_posix()}" for file in chosen]
            told = {"images": [{"file_name": name} for name in names]}
            write(root / f"{part}{year}.json", json.dumps(told))
            parts[part, year] = {*chosen}
    run("train2018", tmp_path)
    for (part, year), files in parts.items():
        made = tmp_path / part / year
        sources.fetch("INaturalist", year, root, made, root / f"{part}{year}.txt")
        assert {link.resolve() for link in (made / "images").rglob("*.jpg")} == files


def test_drawings_become_images(tmp_path):
    (tmp_path / "data/quickdraw").mkdir(parents=True)
    bitmaps = np.random.default_rng(0).integers(0, 256, (1002, 784), np.uint8)
    for name in ("cat", "The Eiffel Tower"):
        np.save(tmp_path / f"data/quickdraw/{name}.npy", bitmaps)
    run("quickdraw", tmp_path)
    found = folders.listing(tmp_path / "data/quickdraw")
    assert len(found) == 2000 and {label for label, _ in found} == {"cat", "The Eiffel Tower"}
    seen = np.asarray(Image.open(tmp_path / "data/quickdraw/cat/999.png"))
    assert (seen == 255 - bitmaps[999].reshape(28, 28)).all()


@pytest.mark.parametrize(
    ("box", "seen"),
    [  # left, top, width, height; first column and row that are seen, and the first that are not any more
        ([20.0, 30.0, 10.0, 20.0], (18, 28, 31, 53)),  # from 19 to 31 and 28 to 52, rounded to whole pixels
        ([0.0, 0.0, 10.0, 10.0], (0, 0, 11, 11)),
        ([60.5, 30.5, 3.0, 9.0], (60, 29, 64, 41)),
    ],
)
def test_boxes_of_coco_become_images(tmp_path, box, seen):
    (tmp_path / "data/coco/train2017").mkdir(parents=True)
    picture = np.zeros((60, 64, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(60)[:, None] * 4, np.arange(64) * 4
    Image.fromarray(picture).save(
        tmp_path / "data/coco/train2017/000000000007.jpg", quality=100, subsampling=0
    )
    told = {
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "hair drier"}],
        "annotations": [
            {"id": 5, "image_id": 7, "category_id": 90, "bbox": box},
            {"id": 6, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5]},
        ],
    }
    write(tmp_path / "data/coco/annotations/instances_train2017.json", json.dumps(told))
    run("coco", tmp_path)
    assert folders.listing(tmp_path / "data/mscoco") == [
        ("hair drier", "hair drier/5.jpg"),
        ("person", "person/6.jpg"),
    ]
    left, top, right, bottom = seen
    found = np.asarray(Image.open(tmp_path / "data/mscoco/hair drier/5.jpg")).astype(int)
    expected = picture[top:bottom, left:right].astype(int)
    assert found.shape == expected.shape
    assert abs(found - expected)[..., :2].mean() < 6  # JPEG
