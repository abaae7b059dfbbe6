"""Agreement of the foreground with true masks, from pixels to the figure.

The references are pixels counted one by one, files whose masks are known by construction, and scipy.
"""

import csv
import runpy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.stats import norm, sem

from conftest import ROOT
from patchwork import foreground, pixels, saliency, shapes, warehouse
from test_saliency import random_mass
from test_warehouse import MODELS, SALIENT, STRIPS, Study


def test_jaccard_by_hand():
    one = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()[None, None]
    other = torch.tensor([[0, 1, 1], [0, 1, 0]]).bool()[None, None]
    assert foreground.jaccard(one, other).tolist() == [0.25]
    assert foreground.jaccard(one, one).tolist() == [1]
    assert foreground.jaccard(one, torch.zeros_like(one)).tolist() == [0]


def pack(folder, root, columns, crop, resize=None):
    view = {"resize": resize or crop, "crop": crop, "interpolation": "bilinear"}
    pixels.pack(root, folder / "set.npy", folder / "set.parquet", view, columns=columns)
    return view


def slow_scores(ranks, masks):
    """{(image, share): Jaccard index}, pixel by pixel. masks: {image: bool [H, W]}."""
    found = {}
    for image, mask in masks.items():
        height, width = mask.shape
        rows, columns = ranks.shape[1:]
        pixels_in = {(y, x) for y in range(height) for x in range(width) if mask[y, x]}
        for share in [k / 10 for k in range(1, 10)]:
            chosen = {
                (y, x)
                for y in range(height)
                for x in range(width)
                if ranks[image, y * rows // height, x * columns // width] < share
            }
            found[image, round(share, 6)] = len(chosen & pixels_in) / len(chosen | pixels_in)
    return found


def test_scores_of_drawn_images_are_what_counting_pixels_gives(tmp_path):
    shapes.draw(tmp_path / "drawn", "set", "natural", 20, 32)
    view = pack(tmp_path, tmp_path / "drawn/images", tmp_path / "drawn/index.csv", 32)
    ranks = saliency.rank(random_mass(20, 4, 5)).numpy()
    np.save(tmp_path / "ranks.npy", ranks)
    table = foreground.score(
        tmp_path / "ranks.npy",
        tmp_path / "set.parquet",
        tmp_path / "drawn/images",
        tmp_path / "drawn/index.csv",
        "set",
        view,
    )
    assert table.schema == foreground.SCORES and len(table) == 20 * 9
    index = pq.read_table(tmp_path / "set.parquet").to_pylist()
    masks = {r["image"]: np.asarray(Image.open(tmp_path / "drawn" / r["mask"])) > 0 for r in index}
    expected = slow_scores(ranks, masks)
    found = {(r["image"], round(r["level"], 6)): r["jaccard"] for r in table.to_pylist()}
    assert found == pytest.approx(expected, abs=1e-6)
    rows = table.to_pylist()
    again = foreground.scores(
        np.arange(3), ranks[:3], np.stack([masks[i][None] for i in range(3)]), keys=[1, 2, 3]
    )
    assert again["jaccard"].to_pylist()[:3] == pytest.approx([found[i, 0.1] for i in range(3)], abs=1e-6)
    assert {0 <= row["random"] <= 1 for row in rows} == {True}
    assert np.std([row["random"] for row in rows if round(row["level"], 6) == 0.5]) > 0.01


def test_the_random_foreground_has_as_many_tiles_and_knows_nothing():
    """Where the object is the upper half, half of any random choice of tiles is in it."""
    images = 400
    ranks = saliency.rank(random_mass(images, 8, 8)).numpy()
    upper = np.zeros((images, 1, 16, 16), bool)
    upper[:, :, :8] = True
    table = foreground.scores(np.arange(images), ranks, upper, list(range(images)))
    for share in (0.3, 0.6, 0.9):
        number = (ranks < np.float32(share)).sum((1, 2))  # tiles; the object has 32 of 64
        rows = [row for row in table.to_pylist() if round(row["level"], 6) == share]
        # Intersection i of number n: J = i / (n + 32 - i), so n and J give i, a whole number of mean n / 2.
        inside = [row["random"] * (n + 32) / (1 + row["random"]) for row, n in zip(rows, number, strict=True)]
        assert np.abs(np.array(inside) - np.round(inside)).max() < 1e-3
        assert np.mean(inside) == pytest.approx(number.mean() / 2, abs=0.3)


def test_a_foreground_that_is_the_object_scores_one(tmp_path):
    mass = torch.full((1, 4, 4), 1e-9).double()
    mass[0, 1:3, 1:3] = 0.25
    objects = np.zeros((1, 1, 16, 16), bool)
    objects[:, :, 4:12, 4:12] = True
    table = foreground.scores(np.array([0]), saliency.rank(mass / mass.sum()).numpy(), objects, [0])
    assert table["jaccard"].to_pylist()[-1] == 1 and table["random"].to_pylist()[-1] < 1


@pytest.fixture
def photographs(tmp_path):
    """Two classes of 40x20 pictures, masks for some: a palette, a colour, an empty one, none."""
    for name in ("ant/a.png", "ant/b.png", "bee/a.png", "bee/b.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), "white").save(tmp_path / "set" / name)
    (tmp_path / "masks").mkdir()
    inside = np.zeros((20, 40), np.uint8)
    inside[:, 14:20] = 3
    palette = Image.fromarray(inside, "P")
    palette.putpalette([255, 0, 0] * 256)  # the colours do not matter
    palette.save(tmp_path / "masks/a.png")
    Image.fromarray(np.stack([inside * 0, inside, inside * 0], 2)).save(tmp_path / "masks/b.png")
    Image.new("L", (40, 20)).save(tmp_path / "masks/empty.png")
    with open(tmp_path / "columns.csv", "w", newline="") as opened:
        csv.writer(opened).writerows(
            [
                ["path", "mask"],
                ["ant/a.png", "masks/a.png"],
                ["ant/b.png", "masks/b.png"],
                ["bee/a.png", "masks/empty.png"],
            ]
        )
    return tmp_path


def score(folder, ranks, **view):
    view = pack(folder, folder / "set", folder / "columns.csv", **view)
    np.save(folder / "ranks.npy", ranks)
    files = folder / "ranks.npy", folder / "set.parquet", folder / "set", folder / "columns.csv"
    return foreground.score(*files, "set", view)


def test_masks_are_seen_as_the_images_are(photographs):
    """40x20 pixels become 20x10 and then the middle 8x8, so columns 14 to 19 become 1 to 3 of 8."""
    left = np.zeros((4, 1, 4), np.float32)
    left[:] = [0.5, 0, 0.75, 0.9]  # the second tile is pixels 2 and 3 of 8
    table = score(photographs, left, crop=8, resize=10).to_pylist()
    assert {row["image"] for row in table} == {0, 1}  # of the others nothing is known
    for image in (0, 1):
        [row] = [row for row in table if row["image"] == image and round(row["level"], 6) == 0.1]
        assert row["jaccard"] == pytest.approx(2 / 3)


def test_a_mask_of_another_size_or_lost_or_no_picture_is_told(photographs):
    ranks = np.zeros((4, 1, 4), np.float32)
    Image.new("L", (20, 40), 1).save(photographs / "masks/b.png")
    with pytest.raises(
        ValueError, match=r"masks/b.png has 20x40 pixels, but its image .*ant/b.png has 40x20"
    ):
        score(photographs, ranks, crop=8)
    (photographs / "masks/b.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"the mask .*masks/b.png cannot be read"):
        score(photographs, ranks, crop=8)
    (photographs / "masks/b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"columns.csv: there is no mask .*masks/b.png of ant/b.png"):
        score(photographs, ranks, crop=8)


def test_a_mask_of_a_turned_photograph_may_be_upright(photographs):
    turned = Image.new("RGB", (20, 40), "white")
    exif = turned.getexif()
    exif[0x0112] = 6
    (photographs / "set/ant/a.png").unlink()
    turned.save(photographs / "set/ant/a.png", exif=exif)
    table = score(photographs, np.zeros((4, 1, 4), np.float32), crop=8, resize=10)
    assert {row["image"] for row in table.to_pylist()} == {0, 1}


def test_a_dataset_without_masks_has_a_table_without_rows(photographs):
    view = pack(photographs, photographs / "set", None, 8)
    np.save(photographs / "ranks.npy", np.zeros((4, 1, 4), np.float32))
    files = photographs / "ranks.npy", photographs / "set.parquet", photographs / "set", []
    table = foreground.score(*files, "set", view)
    assert table.schema == foreground.SCORES and len(table) == 0
    pq.write_table(table, photographs / "scores.parquet")
    assert pq.read_schema(photographs / "scores.parquet").equals(foreground.SCORES)


# ---- in the warehouse ----


def test_foregrounds_are_read_and_none_is_an_empty_table(tmp_path):
    scores = {"image": [0, 1], "level": [0.5, 0.5], "jaccard": [0.25, 0.75], "random": [0.125, 0.25]}
    files = [tmp_path / f"{name}.parquet" for name in ("shapes/dino", "shapes/vit", "more/dino")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({**scores, "level": pa.array([0.5, 0.5], pa.float32())}), file)
    path = Study(tmp_path).build(foregrounds=files, saliency={"model": "dino", "head": 1, "grid": "4x4"})
    found = warehouse.query(
        path, "SELECT dataset, model, avg(jaccard), avg(random) FROM foreground GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("more", "dino", 0.5, 0.1875),
        ("shapes", "dino", 0.5, 0.1875),
        ("shapes", "vit", 0.5, 0.1875),
    ]
    assert warehouse.query(path, "FROM saliency").to_pylist() == [
        {"model": "dino", "head": "1", "grid": "4x4"}
    ]
    path.unlink()
    assert Study(tmp_path).build() and not len(
        warehouse.query(path, "FROM foreground UNION ALL BY NAME FROM saliency")
    )


@pytest.mark.parametrize(("grid", "others"), [("4x4", ["shapes · random drop"]), ("7x7", [])])
def test_random_drop_is_compared_on_the_grid_of_the_saliency(tmp_path, grid, others):
    study = Study(tmp_path, strips=STRIPS | SALIENT)
    path = study.build(saliency={"model": "dino", "head": "mean", "grid": grid})
    sql = runpy.run_path(ROOT / "reports/figures/saliency.py")["SQL"]
    rows = warehouse.query(path, sql).to_pylist()
    panels = {row["panel"] for row in rows}
    assert panels == {"shapes · salient drop", "shapes · nonsalient drop", *others}
    assert {row["variant"] for row in rows} == {"area", *(["4x4"] if others else [])}


def figure_rows(folder, scores):
    """What the figure draws of the scores of networks, {model: float [images, 2]}."""
    files = [folder / f"shapes/{model}.parquet" for model in scores]
    for file, values in zip(files, scores.values(), strict=True):
        file.parent.mkdir(exist_ok=True)
        columns = [np.arange(len(values), dtype=np.int32), np.full(len(values), 0.1, np.float32)]
        columns += [*values.T.astype(np.float32).copy()]
        pq.write_table(pa.table(columns, ["image", "level", "jaccard", "random"]), file)
    saliency = {"model": "dino", "beside": [*scores][1:], "head": "mean", "grid": "4x4"}
    path = Study(folder).build(foregrounds=files, saliency=saliency)
    return warehouse.query(path, runpy.run_path(ROOT / "reports/figures/foreground.py")["SQL"]).to_pylist()


def test_networks_have_the_colours_of_the_other_figures_or_further_ones(tmp_path):
    rows = figure_rows(tmp_path, dict.fromkeys(["nobody", "dino", "vit"], np.ones((2, 2))))
    [evaluated] = warehouse.query(
        tmp_path / "warehouse.duckdb", "SELECT DISTINCT place FROM accuracy WHERE model = 'vit'"
    ).to_pylist()
    places = {row["model"]: row["place"] for row in rows}
    assert places == {"vit": evaluated["place"], "dino": len(MODELS), "nobody": len(MODELS) + 1}
    assert len(rows) == 2 * len(places)


def test_the_interval_of_a_foreground_is_that_of_a_mean(tmp_path):
    scores = np.random.default_rng(0).random((30, 2)).astype(np.float32)
    found = {row["kind"]: row for row in figure_rows(tmp_path, {"dino": scores})}
    for kind, values in zip(("attention", "random"), scores.T.astype(float), strict=True):
        low, high = norm.interval(0.95, values.mean(), sem(values))
        row = found[kind]
        assert (row["jaccard"], row["low"], row["high"]) == pytest.approx(
            (values.mean(), low, high), abs=1e-6
        )
        assert (row["level"], row["images"], row["model"], row["panel"]) == (0.1, 30, "dino", "shapes")
