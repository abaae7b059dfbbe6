"""Image folders: which images, in which order, with which labels."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from patchwork import folders, pixels

KNOWN = {"n01440764": 0, "n01443537": 1, "n02123045": 281, "n15075141": 999}  # tench ... toilet tissue


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_images_come_in_order_of_path_with_their_class(tmp_path):
    root = make(tmp_path, "dog/2.JPG", "dog/10.png", "cat/deep/er/a.webp", "cat/b.jpeg", "Ape/x.tiff")
    assert folders.listing(root) == [
        ("Ape", "Ape/x.tiff"),
        ("cat", "cat/b.jpeg"),
        ("cat", "cat/deep/er/a.webp"),
        ("dog", "dog/10.png"),
        ("dog", "dog/2.JPG"),
    ]


def test_other_files_and_hidden_folders_are_no_images(tmp_path):
    root = make(tmp_path, "a/1.png", "a/notes.txt", "a/1.png.part", "a/png", ".cache/2.png", "loose.png")
    assert folders.listing(root) == [("a", "a/1.png")]


def test_linked_folders_are_followed(tmp_path):
    make(tmp_path / "elsewhere", "1.png", "more/2.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").symlink_to(tmp_path / "elsewhere")
    assert folders.listing(tmp_path / "root") == [("a", "a/1.png"), ("a", "a/more/2.png")]


def test_a_number_of_images_spreads_over_the_classes(tmp_path):
    root = make(tmp_path, *(f"{name}/{number}.png" for name in "abcde" for number in range(8)))
    everything = folders.listing(root)
    for images in (5, 10, 20, 37):
        chosen = folders.listing(root, images)
        assert len(set(chosen)) == images and [row for row in everything if row in chosen] == chosen
        counts = [sum(name == letter for name, _ in chosen) for letter in "abcde"]
        assert max(counts) - min(counts) <= 1
    assert folders.listing(root, 40) == folders.listing(root, 1000) == everything


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"no folder {tmp_path}/photos: .*one folder of images per class"
    ):
        folders.listing(tmp_path / "photos")
    make(tmp_path, "file.png")
    with pytest.raises(FileNotFoundError, match="no folder"):
        folders.listing(tmp_path / "file.png")


def test_a_root_without_folders_is_named(tmp_path):
    make(tmp_path, "1.png", "2.png")
    with pytest.raises(ValueError, match=f"{tmp_path} has no folders in it"):
        folders.listing(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    make(tmp_path, "cat/1.png", "dog/readme.txt")
    with pytest.raises(ValueError, match=f"class folder {tmp_path}/dog has no images"):
        folders.listing(tmp_path)


def test_some_imagenet_folders_have_their_places_among_the_thousand():
    order = folders.class_order(["n02123045", "n01440764", "n15075141", "n01443537", "n01440764"])
    assert len(order) == 1000 and order == sorted(order)
    assert {name: order.index(name) for name in KNOWN} == KNOWN


def test_wordnet_folders_beyond_imagenet_are_numbered_by_themselves():
    assert folders.class_order(["n00000002", "n00000001"]) == ["n00000001", "n00000002"]


def test_a_wordnet_folder_that_imagenet_lacks_is_named():
    with pytest.raises(ValueError, match=r"'n00000001' \(1 such\) is not in ImageNet-1k.*classes: FILE"):
        folders.class_order(["n01440764", "n00000001"])


def test_other_folders_are_numbered_by_name():
    assert folders.class_order(["b", "c10", "a", "c2", "b"]) == ["a", "b", "c10", "c2"]
    assert folders.class_order(["n01440764", "cat"]) == ["cat", "n01440764"]


def test_a_class_list_comes_first_and_must_know_every_folder(tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text("n01443537\r\n  zebra \n\nn01440764\n")
    assert folders.class_order(["n01440764"], classes) == ["n01443537", "zebra", "n01440764"]
    with pytest.raises(ValueError, match=rf"'ape' \(2 such\) is not in {classes}"):
        folders.class_order(["zebra", "bee", "ape"], classes)


def test_a_class_list_that_names_a_class_twice_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(ValueError, match=r"'cat'.*twice"):
        folders.class_order(["cat"], tmp_path / "classes.txt")


def test_links_that_lead_back_and_hidden_files_are_left_out(tmp_path):
    (tmp_path / "cat/deep").mkdir(parents=True)
    (tmp_path / "cat/.ipynb_checkpoints").mkdir()
    for name in ("a.png", "deep/b.png", "._a.png", ".ipynb_checkpoints/a.png"):
        (tmp_path / "cat" / name).touch()
    (tmp_path / "cat/deep/loop").symlink_to(tmp_path / "cat")
    assert [path for _, path in folders.listing(tmp_path)] == ["cat/a.png", "cat/deep/b.png"]


def test_a_list_of_classes_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n", encoding="utf-8-sig")
    assert folders.class_order(["cat"], tmp_path / "classes.txt") == ["cat", "dog"]


# ---- Lists of images. ----


def photos(root):
    return make(root, "ant/1.png", "ant/2.jpg", "bee/1.png", "bee/v1.2.png", "cat/1.png", "empty/readme.txt")


def test_a_list_chooses_images_with_or_without_their_endings(tmp_path):
    root, listed = photos(tmp_path / "photos"), tmp_path / "train.txt"
    listed.write_text("bee/v1.2\r\n\n  ant/2.jpg \nbee/1.png\nbee/1\n", encoding="utf-8-sig")
    chosen = [("ant", "ant/2.jpg"), ("bee", "bee/1.png"), ("bee", "bee/v1.2.png")]
    assert (
        folders.listing(root, listed=listed) == chosen
    )  # and no word of the empty folder, which is not listed
    assert folders.listing(root, 2, listed) == [chosen[0], chosen[1]]
    assert folders.below(root, listed) == [path for _, path in chosen]


def test_a_list_of_what_is_not_there_or_may_be_several_is_refused(tmp_path):
    root, listed = photos(tmp_path / "photos"), tmp_path / "train.txt"
    for line, says in (
        ("ant/3.jpg", f"train.txt names 'ant/3.jpg', but {root} has no such image"),
        ("empty/readme.txt", "train.txt names 'empty/readme.txt', but"),
        ("\n", f"train.txt names no image: it should have the path of one, from {root}, in each line"),
        ("dog/1", "train.txt names 'dog/1', which may be dog/1.jpg or dog/1.png: add the ending"),
    ):
        make(root, "dog/1.png", "dog/1.jpg")
        listed.write_text(f"ant/1\n{line}\n" if line.strip() else line)
        for read in (folders.listing, folders.below):
            with pytest.raises(ValueError, match=re.escape(says)):
                read(root, listed=listed)
    listed.write_text("dog/1.jpg\n")
    assert folders.listing(root, listed=listed) == [("dog", "dog/1.jpg")]


def test_images_that_are_packed_are_those_of_the_list(tmp_path):
    root, listed, columns = tmp_path / "photos", tmp_path / "train.txt", tmp_path / "columns.csv"
    for number, path in enumerate(["ant/1.png", "ant/2.png", "bee/1.png", "cat/1.png"]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / path)
    listed.write_text("cat/1\nant/2\n")
    columns.write_text("path,photographer\nant/2.png,Ada\nbee/1.png,Bo\n")  # of all images, listed or not
    made = tmp_path / "images.npy", tmp_path / "images.parquet"
    view = {"resize": 8, "crop": 8, "interpolation": "bilinear"}
    assert pixels.pack(root, *made, view, columns=columns, listed=listed) == (2, 0)
    index = pq.read_table(made[1]).to_pylist()
    assert [(row["path"], row["label"], row["photographer"]) for row in index] == [
        ("ant/2.png", 0, "Ada"),
        ("cat/1.png", 1, None),
    ]
    assert np.load(made[0])[:, 0, 0, 0].tolist() == [1, 3]
    columns.write_text("path,photographer\nbee/7.png,Ada\n")
    with pytest.raises(
        ValueError, match=r"columns\.csv tells of 'bee/7\.png' \(1 such\), which is no image of"
    ):
        pixels.pack(root, *made, view, columns=columns, listed=listed)
