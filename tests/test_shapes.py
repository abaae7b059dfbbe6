import csv
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFilter

from patchwork import shapes


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def table(folder):
    with open(folder / "index.csv", newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_number_of_workers_changes_no_byte(tmp_path):
    for workers in (1, 3):
        shapes.draw(tmp_path / str(workers), "train", "natural", 130, 32, workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_sets_of_other_names_share_no_image(tmp_path):
    drawn = []
    for name in ("train", "held_out"):
        shapes.draw(tmp_path / name, name, "natural", 100, 32)
        drawn += [path.read_bytes() for path in (tmp_path / name / "images").rglob("*.png")]
    assert len(drawn) == len(set(drawn)) == 200


def test_natural_cues_agree_and_classes_are_equal(tmp_path):
    shapes.draw(tmp_path / "a", "a", "natural", 50, 32)
    pairs = Counter((row["shape"], row["texture"]) for row in table(tmp_path / "a"))
    assert pairs == {pair: 5 for pair in zip(shapes.OUTLINES, shapes.TEXTURES, strict=True)}


def test_conflicting_cues_never_agree_and_cover_all_pairs(tmp_path):
    shapes.draw(tmp_path / "a", "a", "conflict", 180, 32)
    own = dict(zip(shapes.OUTLINES, shapes.TEXTURES, strict=True))
    pairs = Counter((row["shape"], row["texture"]) for row in table(tmp_path / "a"))
    assert len(pairs) == 90 and set(pairs.values()) == {2}
    assert all(own[shape] != texture for shape, texture in pairs)
    half = Counter(shapes.cues("conflict", index)[1] for index in range(60))
    assert set(half.values()) == {6}  # textures stay equal when the pairs cannot


def test_the_index_tells_which_class_a_texture_stands_for(tmp_path):
    for kind in ("natural", "conflict"):
        shapes.draw(tmp_path / kind, kind, kind, 100, 32)
    own = {row["texture"]: row["shape"] for row in table(tmp_path / "natural")}
    assert len(own) == 10
    for kind, agree in (("natural", True), ("conflict", False)):
        for row in table(tmp_path / kind):
            assert row["texture_class"] == own[row["texture"]]
            assert (row["texture_class"] == row["shape"]) == agree


def test_the_index_lists_every_file(tmp_path):
    shapes.draw(tmp_path / "a", "a", "conflict", 95, 32)
    rows = table(tmp_path / "a")
    listed = {f"images/{row['path']}" for row in rows} | {row["mask"] for row in rows} | {"index.csv"}
    assert len(rows) == 95 and listed == set(contents(tmp_path / "a"))
    assert all(row["path"].startswith(f"{row['shape']}/{row['shape']}") for row in rows)
    image, mask = (
        Image.open(tmp_path / "a" / path) for path in (f"images/{rows[0]['path']}", rows[0]["mask"])
    )
    assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (32, 32), "L", (32, 32))
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("shape", shapes.OUTLINES | shapes.FURTHER_OUTLINES)
def test_the_mask_is_where_the_texture_shows(shape):
    for index in range(5):
        seen = [
            shapes.picture(shapes.generator("a", index), shape, texture, 64) for texture in shapes.TEXTURES
        ]
        images, masks = (np.stack(part) for part in zip(*seen, strict=True))
        mask, changed = masks[0], (images != images[0]).any((0, 3))
        assert (masks == mask).all()
        assert changed[mask].all()
        near = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
        assert (changed & ~near).sum() <= 0.03 * mask.sum()  # but for tips thinner than a pixel


@pytest.mark.parametrize("shape", shapes.OUTLINES | shapes.FURTHER_OUTLINES)
def test_a_filled_outline_has_the_area_of_its_polygon(shape):
    for index in range(5):
        points = shapes.outline(shapes.generator("a", index), shape)
        x, y = points.T
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2  # the shoelace formula
        assert shapes.fill(points, 64).mean() == pytest.approx(area, rel=0.06)
        assert points.min() >= 0 and points.max() <= 1


def test_textures_name_the_classes_where_they_decide(tmp_path):
    shapes.draw(tmp_path / "a", "a", "texture", 90, 32)
    rows = table(tmp_path / "a")
    assert all(row["path"].split("/")[0] == row["mask"].split("/")[1] == row["texture"] for row in rows)
    assert Counter(row["texture"] for row in rows) == dict.fromkeys(shapes.TEXTURES, 9)
    own = dict(zip(shapes.OUTLINES, shapes.TEXTURES, strict=True))
    assert len({(row["shape"], row["texture"]) for row in rows}) == 90
    assert all(own[row["shape"]] != row["texture"] for row in rows)


def test_further_outlines_have_every_texture(tmp_path):
    assert len(shapes.FURTHER_OUTLINES) == 10 and not set(shapes.FURTHER_OUTLINES) & set(shapes.OUTLINES)
    for workers in (1, 3):
        shapes.draw(tmp_path / str(workers), "a", "outlines", 200, 32, workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    rows = table(tmp_path / "1")
    pairs = Counter((row["shape"], row["texture"]) for row in rows)
    assert len(pairs) == 100 and set(pairs.values()) == {2}
    assert {shape for shape, _ in pairs} == set(shapes.FURTHER_OUTLINES)
    assert [*rows[0]] == ["path", "shape", "texture", "mask"]  # their textures stand for no class
    assert all(row["path"].split("/")[0] == row["mask"].split("/")[1] == row["shape"] for row in rows)
    listed = {f"images/{row['path']}" for row in rows} | {row["mask"] for row in rows} | {"index.csv"}
    assert listed == set(contents(tmp_path / "1"))


def test_the_nearest_mean_tells_further_outlines_apart():
    """They differ by more than what turns, stretches, wobbles and places change."""
    kinds = [*shapes.FURTHER_OUTLINES]

    def masks(first, last):
        for index in range(first, last):
            points = shapes.outline(shapes.generator("a", index), kinds[index % 10])
            low, high = points.min(0), points.max(0)
            yield shapes.fill((points - low) / (high - low), 32).ravel()  # the frame around it alone

    train, test = (np.stack([*masks(*span)]) for span in ((0, 1000), (1000, 1300)))
    means = np.stack([train[label::10].mean(0) for label in range(10)])
    nearest = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
    hits = nearest == np.arange(300) % 10
    assert min(hits[label::10].mean() for label in range(10)) > 0.8


def test_paintings_fill_the_frame_and_have_paths_alone(tmp_path):
    for workers in (1, 2):
        shapes.draw(tmp_path / str(workers), "paintings", "painting", 60, 32, workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert table(tmp_path / "1") == [{"path": f"painting/{i:05d}.png"} for i in range(60)]
    assert not [*(tmp_path / "1/masks").iterdir()]
    images = np.stack([np.asarray(Image.open(p)) for p in sorted((tmp_path / "1/images").rglob("*.png"))])
    assert images.shape == (60, 32, 32, 3)
    blocks = images.reshape(60, 2, 16, 2, 16, 3).std((2, 4))
    assert (blocks.max(-1) > 2).mean() > 0.95  # something happens in every quarter
    assert images.mean((1, 2)).std(0).min() > 25  # and no colour is preferred


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="natural, conflict, texture, painting, outlines, not 'neutral'"):
        shapes.draw(tmp_path / "a", "a", "neutral", 10, 32)
