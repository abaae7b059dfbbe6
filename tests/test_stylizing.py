"""Stylized image folders: the same bytes whatever the jobs, nothing made twice, mistakes named."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchwork import adain, folders, models, pixels, shapes, stylizing

VIEW = {"resize": 36, "crop": 32, "interpolation": "bilinear"}
IMAGES = 40  # two batches and a half


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folders of contents and styles."""
    folder = tmp_path_factory.mktemp("drawn")
    shapes.draw(folder / "shapes", "shapes", "conflict", IMAGES, 40)
    shapes.draw(folder / "paintings", "paintings", "painting", 6, 48)
    return folder


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    net = models.create({"timm": "test_resnet"}).eval().requires_grad_(False)
    encoder = adain.Encoder(models.Model(net, (32, 32)), ["act1", "layer1"])
    decoder = adain.decoder(encoder)
    torch.nn.init.normal_(decoder[-1].weight, std=0.01)  # a new one draws grey
    return encoder, decoder


def rows(drawn, name="stylized", **options):
    return stylizing.rows(name, drawn / "shapes/images", drawn / "paintings/images", **options)


def stylize(drawn, nets, store, found=None, **options):
    found = rows(drawn) if found is None else found
    places = drawn / "shapes/images", drawn / "paintings/images"
    return stylizing.stylize(found, store, *nets, *places, VIEW, **options)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(drawn, nets, tmp_path_factory):
    """The store of a set that one job has stylized."""
    store = tmp_path_factory.mktemp("store")
    stylize(drawn, nets, store)
    return store


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_shards_make_the_bytes_of_one_job(drawn, nets, whole, tmp_path, shards):
    parts = [stylizing.shard(rows(drawn), number, shards) for number in range(shards)]
    assert [row for part in parts for row in part] == rows(drawn)
    for part in reversed(parts):
        stylize(drawn, nets, tmp_path, part, threads=2)
    assert contents(tmp_path) == contents(whole)


def test_a_stylized_image_is_what_the_networks_make_of_content_and_style(drawn, nets, whole):
    encoder, decoder = nets
    see = pixels.view(**VIEW)

    def read(folder, path):
        return torch.from_numpy(np.array(see(pixels.decode(drawn / folder / "images" / path)))).permute(
            2, 0, 1
        )

    for row in rows(drawn)[:: IMAGES // 4]:
        content, style = (
            encoder(read(folder, row[key])[None] / 255)[-1]
            for folder, key in (("shapes", "content"), ("paintings", "style"))
        )
        own, other = ((x - x.mean((2, 3), keepdim=True), x) for x in (content, style))
        deviation = [
            (x[0].square().sum((2, 3), keepdim=True) / (x[0][0, 0].numel() - 1) + 1e-5).sqrt()
            for x in (own, other)
        ]
        with torch.no_grad():
            wanted = decoder(own[0] / deviation[0] * deviation[1] + style.mean((2, 3), keepdim=True))
        found = np.asarray(Image.open(whole / row["path"])).transpose(2, 0, 1)
        assert np.abs(found - wanted[0].clamp(0, 1).numpy() * 255).max() < 0.51
        assert found.shape == (3, 32, 32) and found.std() > 1


def test_a_killed_job_goes_on_with_what_it_has(drawn, nets, whole, tmp_path):
    names = [row["path"] for row in rows(drawn)]
    for name in names[: IMAGES // 2]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    cut = tmp_path / names[17]
    cut.write_bytes(cut.read_bytes()[:-20])  # as after a crash of the system
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in names[: stylizing.BATCH_IMAGES]}
    stylize(drawn, nets, tmp_path)
    assert contents(tmp_path) == contents(whole)
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in times.items())


def test_a_finished_store_reads_no_image(drawn, nets, whole, monkeypatch):
    monkeypatch.setattr(pixels, "decode", None)
    assert stylize(drawn, nets, whole) == [row["path"] for row in rows(drawn)]


def test_styles_belong_to_set_and_image(drawn):
    styles = {row["content"]: row["style"] for row in rows(drawn)}
    assert {row["content"]: row["style"] for row in rows(drawn, images=10)}.items() <= styles.items()
    assert {row["content"]: row["style"] for row in rows(drawn, name="other")} != styles
    assert len(set(styles.values())) == 6


def test_alpha_0_shows_the_content_alone(drawn, nets, tmp_path):
    few = rows(drawn)[:4]
    for kind, alpha in (("content", 0.0), ("style", 1.0)):
        stylize(drawn, nets, tmp_path / kind, few, alpha=alpha)
        other = [row | {"style": "painting/00000.png"} for row in few]
        stylize(drawn, nets, tmp_path / f"{kind} of another", other, alpha=alpha)
    assert contents(tmp_path / "content") == contents(tmp_path / "content of another")
    assert contents(tmp_path / "style") != contents(tmp_path / "style of another")


def test_gathered_images_masks_and_columns(drawn, whole, tmp_path):
    found = rows(drawn, columns=drawn / "shapes/index.csv")
    folder = tmp_path / "gathered"
    stylizing.gather(found, whole, folder, drawn / "shapes/images", VIEW, drawn / "shapes/index.csv")
    assert contents(folder / "images") == contents(whole)
    with open(folder / "index.csv", newline="") as opened:
        listed = [*csv.DictReader(opened)]
    assert list(listed[0]) == ["path", "content", "style", "shape", "texture", "texture_class", "mask"]
    assert {row["path"] for row in listed} == {path for _, path in folders.listing(folder / "images")}
    for row in listed[:: IMAGES // 4]:
        own = np.asarray(Image.open(folder / row["mask"]))
        large = Image.open(drawn / "shapes/masks" / row["content"]).resize((36, 36), Image.Resampling.NEAREST)
        assert (own == np.asarray(large)[2:34, 2:34]).all() and set(np.unique(own)) == {0, 255}
        assert row["path"].split("/")[0] == row["shape"]


def test_contents_of_any_suffix_become_png_and_two_may_not_be_one(drawn, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("one.JPEG", "two.webp"):
        Image.new("RGB", (40, 40)).save(tmp_path / "a" / name)
    found = stylizing.rows("x", tmp_path, drawn / "paintings")
    assert [row["path"] for row in found] == ["a/one.png", "a/two.png"]
    Image.new("RGB", (40, 40)).save(tmp_path / "a/one.gif")
    with pytest.raises(ValueError, match=r"a/one\.JPEG and a/one\.gif would both become a/one\.png"):
        stylizing.rows("x", tmp_path, drawn / "paintings")


def test_a_style_that_cannot_be_read_is_named(drawn, nets, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/broken.png").write_bytes(b"no image")
    found = stylizing.rows("x", drawn / "shapes/images", tmp_path / "flat")
    with pytest.raises(ValueError, match=r"flat/broken\.png cannot be read"):
        stylizing.stylize(found, tmp_path / "store", *nets, drawn / "shapes/images", tmp_path / "flat", VIEW)


def test_a_folder_without_styles_is_named(drawn, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "empty has no images"), ("lost", "there is no folder .*lost")):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            stylizing.rows("x", drawn / "shapes/images", tmp_path / name)


def test_batches_of_a_training_belong_to_name_and_step(drawn, nets):
    sources = [
        (folder, folders.below(folder)) for folder in (drawn / "shapes/images", drawn / "paintings/images")
    ]
    entry = {"steps": 3, "batch_images": 4, "learning_rate": 1e-3, "style_weight": 1.0}
    ends = [
        stylizing.train(nets[0], name, entry, *sources, VIEW, threads)[0].state_dict()
        for name, threads in (("a", 1), ("a", 3), ("b", 1))
    ]
    same = [all(torch.equal(ends[0][key], other[key]) for key in other) for other in ends[1:]]
    assert same == [True, False]


def test_a_sheet_shows_content_style_and_result(drawn, whole, tmp_path):
    stylizing.gather(rows(drawn), whole, tmp_path / "set", drawn / "shapes/images", VIEW)
    index = tmp_path / "set/index.csv"
    places = tmp_path / "set/images", drawn / "shapes/images", drawn / "paintings/images"
    seen = np.asarray(stylizing.sheet(index, *places, VIEW))
    assert seen.shape == (6 * 36 - 4, 3 * 36 - 4, 3)
    row = rows(drawn)[0]
    own = [
        np.asarray(pixels.view(**VIEW)(pixels.decode(place / row[key])))
        for place, key in zip(places, ("path", "content", "style"), strict=True)
    ]
    found = [seen[:32, first : first + 32] for first in (72, 0, 36)]
    assert all((a == b).all() for a, b in zip(found, own, strict=True))


def test_lists_choose_contents_and_styles(tmp_path):
    for name in (
        "contents/a/1.png",
        "contents/a/2.jpg",
        "contents/b/1.png",
        "styles/x.png",
        "styles/y/z.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "contents.txt").write_text("b/1\na/2.jpg\n")
    (tmp_path / "styles.txt").write_text("y/z\n")
    folders = tmp_path / "contents", tmp_path / "styles"
    rows = stylizing.rows("a", *folders, listed=(tmp_path / "contents.txt", tmp_path / "styles.txt"))
    assert [(row["content"], row["style"]) for row in rows] == [
        ("a/2.jpg", "y/z.png"),
        ("b/1.png", "y/z.png"),
    ]
    assert rows == stylizing.rows("a", *folders, listed=(None, tmp_path / "styles.txt"))[1:]


def test_images_are_taken_from_the_store_of_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [{"path": f"circle/{name}.png"} for name in ("theirs", "cut", "both", "none")]
    drawn = {
        name: np.full((4, 4, 3), value, np.uint8) for value, name in enumerate(("theirs", "both", "own"))
    }
    for place in ("other/store/circle", "store/circle"):
        Path(place).mkdir(parents=True)
    for name in ("theirs", "both"):
        stylizing.save(drawn[name], Path(f"other/store/circle/{name}.png"))
    theirs = Path("other/store/circle/theirs.png").read_bytes()
    Path("other/store/circle/cut.png").write_bytes(theirs[:-5])
    stylizing.save(drawn["own"], Path("store/circle/both.png"))
    own = Path("store/circle/both.png").read_bytes()
    stylizing.adopt(found, "store", None)
    assert [path.name for path in Path("store/circle").iterdir()] == ["both.png"]
    stylizing.adopt(found, "store", "other")
    assert sorted(path.name for path in Path("store/circle").iterdir()) == ["both.png", "theirs.png"]
    assert Path("store/circle/theirs.png").read_bytes() == theirs
    assert Path("store/circle/both.png").read_bytes() == own
