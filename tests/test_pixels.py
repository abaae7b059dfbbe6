"""Packed images: what is decoded, what is left out, what the array and its index hold.

The references are PIL's own resize, numpy's flips and turns, and colours worked out by hand.
"""

import json
import struct
import tracemalloc
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms import functional

from patchwork import packed, pixels

VIEW = {"resize": 24, "crop": 16, "interpolation": "bilinear"}
RANDOM = np.random.default_rng(0)


def photograph(height=20, width=28):
    """A smooth picture, so that JPEG and resizing have something to work on."""
    small = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def write_folder(root, images=6, classes=("cat", "dog"), size=(20, 28)):
    for number in range(images):
        folder = root / classes[number % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        photograph(*size).save(folder / f"{number:03}.png")
    return root


def packed_folder(root, target, view=VIEW, **settings):
    """What pack made of a folder: the array, the rows of the index, the dataset, the counts."""
    counts = pixels.pack(root, target / "set.npy", target / "set.parquet", view, **settings)
    array, rows = np.load(target / "set.npy"), pq.read_table(target / "set.parquet").to_pylist()
    return array, rows, packed.Packed(target / "set.npy", target / "set.parquet"), counts


# ---- decode ----

UPRIGHT = {  # by the EXIF standard: where row 0 and column 0 of what is stored belong in what is seen
    1: lambda stored: stored,  # top, left
    2: lambda stored: stored[:, ::-1],  # top, right
    3: lambda stored: stored[::-1, ::-1],  # bottom, right
    4: lambda stored: stored[::-1],  # bottom, left
    5: lambda stored: stored.swapaxes(0, 1),  # left, top
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda stored: stored.swapaxes(0, 1)[::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_camera_held_anyhow_gives_an_upright_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph().save(tmp_path / "plain.jpg")
    photograph_bytes = Image.open(tmp_path / "plain.jpg").convert("RGB")
    photograph_bytes.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    photograph_bytes.save(tmp_path / "untold.jpg", quality=95)  # the same bits without the note
    stored = np.asarray(Image.open(tmp_path / "untold.jpg"))
    decoded = pixels.decode(tmp_path / "turned.jpg")
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), UPRIGHT[orientation](stored))


def colours(path):
    """The colours along the first row of a decoded file."""
    decoded = pixels.decode(path)
    assert decoded.mode == "RGB"
    return [tuple(map(int, colour)) for colour in np.asarray(decoded)[0]]


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0, 1, 2, 3])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "partly.png", transparency=bytes([255, 0, 51]))
    assert colours(tmp_path / "opaque.png") == [(10, 20, 30), (200, 100, 0), (1, 2, 3)]
    assert colours(tmp_path / "clear.png") == [(10, 20, 30), (255, 255, 255), (1, 2, 3)]
    # an alpha of 51 is a fifth: 0.2 * (1, 2, 3) + 0.8 * 255
    seen = np.array(colours(tmp_path / "partly.png"))
    assert np.abs(seen - [(10, 20, 30), (255, 255, 255), (204.2, 204.4, 204.6)]).max() <= 1


def test_grey_and_alpha_become_rgb_on_white(tmp_path):
    grey = np.array([[0, 100, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert colours(tmp_path / "grey.png") == [(0,) * 3, (100,) * 3, (255,) * 3]
    alpha = np.array([[255, 0, 255]], np.uint8)
    Image.fromarray(np.stack([grey, alpha], 2), "LA").save(tmp_path / "grey_alpha.png")
    assert colours(tmp_path / "grey_alpha.png") == [(0,) * 3, (255,) * 3, (255,) * 3]
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 102]]], np.uint8)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "rgba.png")
    assert colours(tmp_path / "rgba.png") == [(10, 20, 30), (255, 255, 255), (153, 153, 153)]  # 0.6 * 255


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert Image.open(tmp_path / "bits.png").mode == "1"
    assert colours(tmp_path / "bits.png") == [(255,) * 3, (0,) * 3]


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    grey = np.array([[0, 257, 0x8080, 0xC0C0, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / name)
    assert Image.open(tmp_path / name).mode.startswith("I;16")
    assert colours(tmp_path / name) == [(v,) * 3 for v in (0, 1, 0x80, 0xC0, 255)]


def test_inks_become_light(tmp_path):
    for name, ink, expected in [
        ("cyan", (255, 0, 0, 0), (0, 255, 255)),
        ("yellow", (0, 0, 255, 0), (255, 255, 0)),
        ("black", (0, 0, 0, 255), (0, 0, 0)),
        ("paper", (0, 0, 0, 0), (255, 255, 255)),
    ]:
        Image.new("CMYK", (16, 16), ink).save(tmp_path / f"{name}.jpg", quality=95)
        assert Image.open(tmp_path / f"{name}.jpg").mode == "CMYK"
        assert np.abs(np.subtract(colours(tmp_path / f"{name}.jpg"), expected)).max() <= 3


def test_a_film_is_its_first_picture(tmp_path):
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "film.gif").n_frames == 3
    assert colours(tmp_path / "film.gif") == [(255, 0, 0)] * 3


def huge(path):
    """A PNG that claims 30,000 x 30,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))


BROKEN = {
    "empty.png": lambda path: path.write_bytes(b""),
    "text.jpg": lambda path: path.write_text("<html>not found</html>"),
    "cut.jpg": lambda path: (photograph(200, 200).save(path), path.write_bytes(path.read_bytes()[:1500])),
    "cut.png": lambda path: (photograph(200, 200).save(path), path.write_bytes(path.read_bytes()[:1500])),
    "cut.gif": lambda path: (photograph(200, 200).save(path), path.write_bytes(path.read_bytes()[:1500])),
    "cut.webp": lambda path: (photograph(200, 200).save(path), path.write_bytes(path.read_bytes()[:100])),
    "huge.png": huge,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    BROKEN[name](path)
    with pytest.raises(ValueError) as error:
        pixels.decode(path)
    message = str(error.value)
    assert message.startswith(f"{path} ") and "\n" not in message
    assert ("is empty" in message) == (name == "empty.png")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "bmp", "webp"])
def test_whatever_is_wrong_with_a_file_is_a_value_error(tmp_path, kind, capfd):
    path, random = tmp_path / f"image.{kind}", np.random.default_rng(1)
    photograph(24, 30).save(path)
    whole, failures = path.read_bytes(), 0
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, len(whole), 12)] = random.integers(0, 256, 12)
        path.write_bytes(damaged.tobytes()[: random.integers(1, len(whole))])
        try:
            assert pixels.decode(path).mode == "RGB"
        except ValueError as error:
            failures += 1
            assert str(error).startswith(f"{path} ") and "\n" not in str(error)
    assert failures > 10
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    capfd.readouterr()  # libtiff's own remarks


# ---- pack ----


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (256, 257), (333, 500), (90, 120), (224, 224)])
def test_the_view_is_the_authors_transform(tmp_path, size):
    """Resize(256) and CenterCrop(224) of torchvision on a PIL image, once by torchvision, once by hand."""
    write_folder(tmp_path / "set", 1, ["a"], size)
    array = packed_folder(
        tmp_path / "set", tmp_path, {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    )[0]
    image = Image.open(tmp_path / "set/a/000.png").convert("RGB")
    height, width = size
    tall, wide = 256 * height // min(size), 256 * width // min(size)
    resized = image.resize((wide, tall), Image.Resampling.BILINEAR)
    left, top = round((wide - 224) / 2), round((tall - 224) / 2)
    by_hand = np.asarray(resized.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1)
    theirs = functional.pil_to_tensor(functional.center_crop(functional.resize(image, 256), [224, 224]))
    assert np.array_equal(array[0], by_hand)
    assert torch.equal(torch.from_numpy(array[0]), theirs)


def test_bicubic_is_another_view(tmp_path):
    write_folder(tmp_path / "set", 1)
    array = packed_folder(tmp_path / "set", tmp_path, VIEW | {"interpolation": "bicubic"})[0]
    image = Image.open(tmp_path / "set/cat/000.png").resize((33, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(array[0], np.asarray(image.crop((8, 4, 24, 20))).transpose(2, 0, 1))


def test_rows_of_the_index_are_rows_of_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK_IMAGES", 4)
    root = write_folder(tmp_path / "set", 10)
    array, rows, data, counts = packed_folder(root, tmp_path)
    assert counts == (10, 0) and array.shape == (10, 3, 16, 16) and array.dtype == np.uint8
    assert [row["image"] for row in rows] == list(range(10))
    assert [row["path"] for row in rows] == sorted(str(p.relative_to(root)) for p in root.rglob("*.png"))
    assert [row["label"] for row in rows] == [0] * 5 + [1] * 5
    assert [row["class_name"] for row in rows] == ["cat"] * 5 + ["dog"] * 5
    for row in rows:
        expected = Image.open(root / row["path"]).resize((33, 24), Image.Resampling.BILINEAR)
        expected = np.asarray(expected.crop((8, 4, 24, 20))).transpose(2, 0, 1)
        assert np.array_equal(array[row["image"]], expected)
    assert data.labels.tolist() == [0] * 5 + [1] * 5 and data.labels.dtype == np.int64
    assert data.paths == [row["path"] for row in rows] and data.classes == ["cat", "dog"]


def test_reading_is_slicing(tmp_path):
    array, _, data, _ = packed_folder(write_folder(tmp_path / "set", 7), tmp_path)
    for first, last in [(0, 7), (0, 1), (3, 6), (6, 7)]:
        assert np.array_equal(data.read(first, last), array[first:last])


def test_corrupt_files_are_left_out_only_when_asked_and_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK_IMAGES", 5)
    root = write_folder(tmp_path / "set", 12)
    for path in ["cat/000.png", "cat/006.png", "dog/011.png"]:
        (root / path).write_bytes((root / path).read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cat/000\.png cannot be read"):
        packed_folder(root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]  # no array, no index, no .part
    array, rows, data, counts = packed_folder(root, tmp_path, skip=True)
    assert counts == (9, 3) and len(array) == len(data.paths) == 9  # the header is as long for 9 as for 12
    missing = {row["path"]: row["problem"] for row in rows if row["image"] is None}
    assert list(missing) == ["cat/000.png", "cat/006.png", "dog/011.png"]
    assert all(path in problem for path, problem in missing.items())
    kept = [row for row in rows if row["image"] is not None]
    assert [row["image"] for row in kept] == list(range(9)) and {row["problem"] for row in kept} == {None}
    assert data.paths == [row["path"] for row in kept] and data.labels.tolist() == [
        row["label"] for row in kept
    ]
    for path in missing:
        (root / path).unlink()
    assert np.array_equal(packed_folder(root, tmp_path)[0], array)


def test_nothing_is_packed_if_nothing_can_be_read(tmp_path):
    root = write_folder(tmp_path / "set", 2)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"no image of {root}"):
        packed_folder(root, tmp_path, skip=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_threads_do_not_matter(tmp_path):
    root = write_folder(tmp_path / "set", 30)
    made = []
    for threads in (1, 4):
        target = tmp_path / str(threads)
        packed_folder(root, target, threads=threads)
        made.append([(target / name).read_bytes() for name in ("set.npy", "set.parquet")])
    assert made[0] == made[1]


def test_the_digest_is_of_pixels_paths_and_labels(tmp_path):
    def digest(root, **settings):
        return packed_folder(root, tmp_path, **settings)[2].digest

    root = write_folder(tmp_path / "set", 4)
    first = digest(root)
    assert digest(root.rename(tmp_path / "elsewhere")) == first
    root = tmp_path / "elsewhere"
    assert digest(root, view=VIEW | {"resize": 25}) != first
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert digest(root, classes=tmp_path / "classes.txt") != first
    (root / "cat/000.png").rename(root / "cat/001.png")
    assert digest(root) != first
    (root / "cat/001.png").rename(root / "cat/000.png")
    assert digest(root) == first
    image = Image.open(root / "cat/000.png").convert("RGB")
    image.putpixel((14, 10), tuple(255 - value for value in image.getpixel((14, 10))))
    image.save(root / "cat/000.png")
    assert digest(root) != first


def test_an_array_with_another_index_is_refused(tmp_path):
    packed_folder(write_folder(tmp_path / "set", 4), tmp_path)
    np.save(tmp_path / "set.npy", np.zeros((3, 3, 16, 16), np.uint8))
    with pytest.raises(ValueError, match=r"holds 3 images, .* lists 4"):
        packed.Packed(tmp_path / "set.npy", tmp_path / "set.parquet")


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK_IMAGES", 8)
    view = {"resize": 64, "crop": 64, "interpolation": "bilinear"}
    peaks = []
    for images in (16, 400):
        root = write_folder(tmp_path / f"set{images}", images)
        if not peaks:
            packed_folder(root, tmp_path, view)  # imports what is imported late
        tracemalloc.start()
        pixels.pack(root, tmp_path / "set.npy", tmp_path / "set.parquet", view)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 400 * 3 * 64 * 64 / 4


# ---- labels and further columns ----


def test_imagenet_folders_get_imagenet_labels(tmp_path):
    ids = {"n15075141": 999, "n01440764": 0, "n02123045": 281, "n01443537": 1}
    _, rows, data, _ = packed_folder(write_folder(tmp_path / "set", 4, list(ids)), tmp_path)
    assert {row["class_name"]: row["label"] for row in rows} == ids
    assert len(data.classes) == 1000 and data.classes[281] == "n02123045"


def test_a_class_list_decides_the_labels(tmp_path):
    root = write_folder(tmp_path / "set", 4)
    (tmp_path / "classes.txt").write_text("dog\nhorse\n\ncat\n")
    _, rows, data, _ = packed_folder(root, tmp_path, classes=tmp_path / "classes.txt")
    assert [row["label"] for row in rows] == [2, 2, 0, 0] and data.classes == ["dog", "horse", "cat"]


def test_fewer_images_than_classes_keep_the_labels_of_all_classes(tmp_path):
    root = write_folder(tmp_path / "set", 12, ["a", "b", "c", "d", "e", "f"])
    _, rows, data, _ = packed_folder(root, tmp_path, images=3)
    assert [row["class_name"] for row in rows] == ["a", "c", "e"]
    assert data.classes == ["a", "b", "c", "d", "e", "f"]
    assert [row["label"] for row in rows] == [0, 2, 4]


def test_columns_of_a_csv_join_the_index_by_path(tmp_path):
    root = write_folder(tmp_path / "set", 4)
    table = "path,texture,mask\ndog/001.png,elephant,masks/1.png\ncat/000.png,bear,\n"
    (tmp_path / "columns.csv").write_text(table)
    _, rows, _, _ = packed_folder(root, tmp_path, columns=tmp_path / "columns.csv")
    found = {row["path"]: (row["texture"], row["mask"]) for row in rows}
    assert found == {
        "cat/000.png": ("bear", ""),
        "cat/002.png": (None, None),
        "dog/001.png": ("elephant", "masks/1.png"),
        "dog/003.png": (None, None),
    }
    metadata = pq.read_schema(tmp_path / "set.parquet").metadata
    assert json.loads(metadata[b"classes"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("path,texture\nno/such.png,car\n", "tells of 'no/such.png'"),
        ("path,texture\ndog/001.png,car,blue\n", "line 2"),
        ("path,texture\ndog/001.png\n", "line 2"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(tmp_path, table, told):
    root = write_folder(tmp_path / "set", 4)
    (tmp_path / "columns.csv").write_text(table)
    with pytest.raises(ValueError, match=told) as error:
        packed_folder(root, tmp_path, columns=tmp_path / "columns.csv")
    assert "columns.csv" in str(error.value)


@pytest.mark.parametrize(
    ("table", "problem"), [("file,texture\nx,y\n", "path"), ("path,label\ncat/000.png,7\n", "label")]
)
def test_a_csv_that_cannot_be_joined_is_named(tmp_path, table, problem):
    (tmp_path / "columns.csv").write_text(table)
    with pytest.raises(ValueError, match=rf"columns\.csv.*{problem}"):
        packed_folder(write_folder(tmp_path / "set", 2), tmp_path, columns=tmp_path / "columns.csv")
