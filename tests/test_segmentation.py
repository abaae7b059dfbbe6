"""Attention against true masks, from files to the figure.

The references are the authors' way of counting, written out pixel by pixel in numpy, torchmetrics, masks
drawn by hand, attention computed from weights, and timm's own way to take images of any size.
"""

import contextlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from torchmetrics.classification import BinaryJaccardIndex

from conftest import COLUMNS, Project
from patchwork import folders, masked, measuring, models, saliency, shapes, warehouse
from patchwork.measures import segmentation
from test_measuring import subject
from test_models import DEIT, REGISTERS, VIT, attention_by_hand, network
from test_warehouse import Study

SIZES = {"a": (40, 24), "b": (24, 40), "c": (32, 32), "d": (40, 24), "e": (64, 16)}  # width, height
VOC = ["b", "d", "a", "e"]  # listed in no order; c has no mask
VOID = 255


def voc(folder):
    """Folders like those of PASCAL VOC: photographs that are not square, palette masks, a list."""
    random = np.random.default_rng(3)
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    for name, (width, height) in SIZES.items():
        values = random.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
        image = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"JPEGImages/{name}.jpg", quality=95)
        if name not in VOC:
            continue
        mask = np.zeros((height, width), np.uint8)
        mask[2 : height // 2, 3 : width // 2] = 15
        mask[height // 2 :, width // 2 + 1 :] = 7 if name in "ab" else 15
        mask[height // 2 - 1, :] = VOID
        palette = Image.fromarray(mask)
        palette.putpalette([channel for value in range(256) for channel in (value, 255 - value, 7)])
        palette.save(folder / f"SegmentationClass/{name}.png")
    (folder / "val.txt").write_text("\n".join(VOC) + "\n")
    return folder


@pytest.fixture
def photographs(tmp_path):
    return voc(tmp_path / "voc")


def dataset(folder, void=VOID, threads=1, **told):
    told = {"masks": folder / "SegmentationClass", "listed": folder / "val.txt"} | told
    return masked.Masked(folder / "JPEGImages", void=void, threads=threads, **told)


def measured(looked_at, data, size=32, batch_images=2):
    looked_at.origin = {"timm": "a network"}
    columns, examples = segmentation.measure(subject(looked_at, data, batch_images, {"size": size}))
    assert columns.keys() == COLUMNS["segmentation"].keys()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return rows, examples


def where(rows, level=0.9, **wanted):
    """The rows with these values, by image and class."""
    found = [row for row in rows if abs(row["level"] - level) < 1e-6 and wanted.items() <= row.items()]
    return {(row["image"], row["class_id"]): row for row in found}


def taken_by_the_authors(weights, share=0.9):
    """evaluate_segmentation.py of the authors, for one head of one image: True for patches. weights: float
    [patches]."""
    order = np.argsort(weights)
    value = weights[order] / weights.sum()
    return (np.cumsum(value) > 1 - share)[np.argsort(order)]


def by_the_authors(weights, mask, grid, share=0.9):
    """{class: their Jaccard index of each head}, pixel by pixel. weights: float [heads, patches]. mask: int
    [H, W], where void is a wrong pixel like any other."""
    height, width = mask.shape
    found = {}
    for value in set(mask.flatten().tolist()) - {0, VOID}:
        scores = []
        for head in weights:
            taken = taken_by_the_authors(head, share).reshape(grid)
            taken = np.kron(taken, np.ones((height // grid[0], width // grid[1]), bool))
            both, either = np.sum(taken & (mask == value)), np.sum(taken | (mask == value))
            scores.append(both / either)
        found[value] = scores
    return found


def seen(folder, name, height, width):
    """An image and its mask as the authors see them: float32 [3, H, W] in [0, 1] and int [H, W]."""
    image = Image.open(folder / f"JPEGImages/{name}.jpg").resize((width, height), Image.Resampling.BILINEAR)
    mask = Image.open(folder / f"SegmentationClass/{name}.png").resize((width, height))  # palette: nearest
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, np.asarray(mask).astype(int)


# ---- Jaccard indices ----


def made_up(images=3, tokens=2, heads=3, grid=(4, 5), side=3, seed=0):
    """Attention (the mean of the heads first) and masks with classes 1, 2 and 9, and void."""
    random = np.random.default_rng(seed)
    weights = random.exponential(size=(images, tokens, heads, grid[0] * grid[1])) ** 2
    weights = np.concatenate([weights.mean(2, keepdims=True), weights], 2)
    weights = torch.from_numpy(weights / weights.sum(3, keepdims=True))
    masks = random.choice(
        [0, 1, 2, 9, VOID], (images, grid[0] * side, grid[1] * side), p=[0.4, 0.3, 0.1, 0.1, 0.1]
    )
    masks[0][masks[0] == 2] = 0  # a class that one image lacks
    return weights, torch.from_numpy(masks.astype(np.int32))


def test_jaccard_indices_are_those_of_the_authors_and_of_torchmetrics():
    grid, (weights, masks) = (4, 5), made_up()
    found = {
        name: values.tolist()
        for name, values in segmentation.agreement(weights, masks, VOID, grid, [1, 2, 3]).items()
    }
    assert len(found["image"]) == (2 + 3 + 3) * 2 * (10 + 3)
    without_void = BinaryJaccardIndex(ignore_index=-1)
    for row in (dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)):
        mask, value = masks[row["image"]], row["class_id"]
        weight = weights[row["image"], row["token"], row["head"] + 1].numpy()
        expected = by_the_authors(weight[None], mask.numpy(), grid, round(row["level"], 6))[value]
        assert row["jaccard_void"] == pytest.approx(expected[0], abs=1e-12)
        taken = torch.from_numpy(taken_by_the_authors(weight, round(row["level"], 6)).reshape(grid))
        taken = taken.repeat_interleave(3, 0).repeat_interleave(3, 1)
        target = torch.where(mask == VOID, -1, (mask == value).int())
        assert row["jaccard"] == pytest.approx(without_void(taken.int(), target).item(), abs=1e-6)
        assert row["jaccard"] >= row["jaccard_void"]


def test_a_mask_drawn_by_hand_has_the_answer_it_has():
    """Four tiles of 2x2 pixels; the object is the left half, void the lower right pixel."""
    mask = torch.tensor([[[5, 5, 0, 0], [5, 5, 0, 0], [5, 5, 0, 0], [5, 5, 0, 8]]], dtype=torch.int32)
    # Upper left, upper right and lower right hold 96 %, any two of them less than 90 %.
    weights = torch.tensor([0.4, 0.3, 0.04, 0.26]).double().expand(1, 1, 2, 4)
    for void, classes, jaccard in [(8, {5}, 4 / 15), (None, {5, 8}, 4 / 16)]:
        found = segmentation.agreement(weights, mask, void, (2, 2), [1])
        at = (found["class_id"] == 5) & (found["head"] == 0)
        assert set(found["class_id"].tolist()) == classes
        assert found["jaccard"][at].tolist() == [pytest.approx(jaccard)]
        assert found["jaccard_void"][at].tolist() == [pytest.approx(4 / 16)]
        # Three tiles of four hold both tiles of the object, or one of them: 8 / 12 or 4 / 16 pixels.
        [random] = found["random_void"][at].tolist()
        assert random == pytest.approx(8 / 12) or random == pytest.approx(4 / 16)
    half = (found["class_id"] == 5) & (found["head"] == -1) & (found["level"] == 0.5)
    assert found["jaccard"][half].tolist() == [pytest.approx(4 / 12)]  # both upper tiles


def test_random_patches_are_as_many_and_know_nothing():
    """The object is the upper half of 8x8 tiles, of one pixel each."""
    images = 300
    masks = torch.zeros(images, 8, 8, dtype=torch.int32)
    masks[:, :4] = 1
    weights, _ = made_up(images, 1, 2, (8, 8))
    found = segmentation.agreement(weights, masks, None, (8, 8), list(range(images)))
    for level in (0.3, 0.6, 0.9):
        at = (found["head"] == -1) & ((found["level"] - level).abs() < 1e-6)
        number = np.array([taken_by_the_authors(w.numpy(), level).sum() for w in weights[:, 0, 0]])
        # Of n taken and i of them in the object of 32 tiles, J = i / (n + 32 - i).
        inside = found["random"][at].numpy() * (number + 32) / (1 + found["random"][at].numpy())
        assert np.abs(inside - np.round(inside)).max() < 1e-9
        assert np.mean(inside) == pytest.approx(number.mean() / 2, abs=0.4)
        assert inside.std() > 0.5
    heads = [found["random"][found["head"] == head] for head in (0, 1)]
    assert not torch.equal(*heads)  # each has patches of its own, so that the best of them can be compared


# ---- networks of another size ----


@pytest.mark.parametrize(
    ("entry", "size", "prefix"), [(VIT, (40, 48), 1), (DEIT, (64, 32), 2), (REGISTERS, (42, 56), 5)]
)
@torch.no_grad()
def test_a_resized_network_attends_as_one_that_takes_any_size(entry, size, prefix):
    net = network(entry)
    options = entry["options"] | {"dynamic_img_size": True}
    dynamic = timm.create_model(entry["timm"], **options).eval()
    dynamic.load_state_dict(net.state_dict())
    model = models.Model(net)
    own, resized = model.size, models.resized(model, size)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = attention_by_hand(dynamic, images, len(net.blocks) - 1)[:, :, :, prefix:]
    tokens = 2 if entry is DEIT else 1
    found = saliency.attended(resized, images, tokens).numpy()
    assert found.shape[3] == np.prod(resized.grid) == expected.shape[3]
    assert np.abs(found - expected[:, :, :tokens].transpose(0, 2, 1, 3)).max() < 1e-5 < expected.std()
    assert model.size == own and model.grid != resized.grid  # which stays as it was


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [
        ("eva02_tiny_patch14_224", {"embed_dim": 24, "depth": 1, "num_heads": 2}, (3, 5)),
        ("beit_base_patch16_224", {"embed_dim": 24, "depth": 1, "num_heads": 2}, (3, 5)),
        ("vit_small_patch16_dinov3", {"embed_dim": 24, "depth": 1, "num_heads": 2}, (3, 5)),
        ("deit3_small_patch16_224", {"embed_dim": 24, "depth": 1, "num_heads": 2}, (3, 5)),
        ("vit_relpos_base_patch16_cls_224", {"embed_dim": 24, "depth": 1, "num_heads": 2}, (3, 5)),
        ("vit_tiny_patch16_224", {"embed_dim": 24, "depth": 1, "num_heads": 2, "pos_embed": "none"}, (3, 5)),
    ],
)
def test_networks_of_many_kinds_can_be_measured(photographs, name, options, grid):
    torch.manual_seed(0)
    model = models.Model(models.create({"timm": name, "options": options}).eval())
    assert segmentation.refuses(model) is None
    rows, _ = measured(model, dataset(photographs), size=60)
    assert {row["image"] for row in rows} == {0, 1, 2, 3} and {row["token"] for row in rows} == {"class"}
    assert {row["head"] for row in rows} == {-1, 0, 1}
    assert np.std([row["jaccard"] for row in rows]) > 0.01


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_resnet", "ResNet has no class token"),
        ("test_vit3", "VisionTransformer has no class token"),
        ("cait_xxs24_224", "Cait takes images of its own size alone"),
        ("tnt_s_legacy_patch16_224", "TNT takes images of its own size alone"),
    ],
)
def test_networks_that_it_means_nothing_for_are_refused_with_a_word(name, reason):
    assert segmentation.refuses(models.Model(timm.create_model(name))) == reason


# ---- the measure ----


@pytest.mark.parametrize("entry", [VIT, DEIT])
@torch.no_grad()
def test_the_best_head_as_the_authors_count(photographs, entry):
    net = network(entry)
    side = 40 if entry is VIT else 64  # pixels; patches have 8 or 16
    dynamic = timm.create_model(entry["timm"], **entry["options"], dynamic_img_size=True).eval()
    dynamic.load_state_dict(net.state_dict())
    patch, tokens = dynamic.patch_embed.patch_size[0], 1 + (entry is DEIT)
    rows, _ = measured(models.Model(net), dataset(photographs), size=side)
    for image, name in enumerate(sorted(VOC)):
        pixels, mask = seen(photographs, name, side, side)
        attention = attention_by_hand(dynamic, pixels[None], len(net.blocks) - 1)[0, :, :, tokens:]
        for token in range(tokens):
            expected = by_the_authors(attention[:, token], mask, (side // patch, side // patch))
            for value, heads in expected.items():
                found = [
                    where(rows, image=image, head=head, aspect="squashed", token=["class", "shape"][token])
                    for head in range(3)
                ]
                found = [some[image, value]["jaccard_void"] for some in found]
                assert found == pytest.approx(heads, abs=1e-6)
    assert len(rows) == (2 + 2 + 1 + 1) * 2 * tokens * (10 + 3)


@torch.no_grad()
def test_images_that_keep_their_aspect(photographs):
    """Of 40x24 pixels with the area of 32x32 become 25x41, which is 3x5 patches of 8 pixels."""
    net = network(VIT)
    dynamic = timm.create_model(VIT["timm"], **VIT["options"], dynamic_img_size=True).eval()
    dynamic.load_state_dict(net.state_dict())
    rows, _ = measured(models.Model(net), dataset(photographs), size=32)
    for image, name, grid in [(0, "a", (3, 5)), (1, "b", (5, 3)), (2, "d", (3, 5)), (3, "e", (2, 8))]:
        pixels, mask = seen(photographs, name, grid[0] * 8, grid[1] * 8)
        weights = attention_by_hand(dynamic, pixels[None], 1)[0, :, 0, 1:]
        for value, [jaccard] in by_the_authors(weights.mean(0)[None], mask, grid).items():
            found = where(rows, image=image, head=-1, aspect="kept")[image, value]
            assert found["jaccard_void"] == pytest.approx(jaccard, abs=1e-6)
    assert segmentation.own_aspect(np.array([[480, 640], [512, 512]]), (16, 16), 512) == [(28, 37), (32, 32)]


def test_neither_batches_nor_threads_nor_other_images_matter(photographs):
    model = models.Model(network(DEIT))
    first, examples = measured(model, dataset(photographs), 64, 16)  # of 32 pixels, 4 of 64

    def words(rows):
        return [[value for value in row.values() if isinstance(value, str)] for row in rows]

    def numbers(rows):
        return np.array([[value for value in row.values() if not isinstance(value, str)] for row in rows])

    for batch_images, threads in [(4, 1), (12, 4)]:
        again, others = measured(model, dataset(photographs, threads=threads), 64, batch_images)
        assert words(first) == words(again)
        assert np.abs(numbers(first) - numbers(again)).max() < 1e-6
        assert examples.keys() == others.keys()
        assert all(torch.equal(examples[name], others[name]) for name in examples)
    fewer, _ = measured(model, dataset(photographs, images=2), 64)  # the first and the third of four
    for aspect in ("kept", "squashed"):
        way = {"head": 0, "token": "shape", "aspect": aspect}
        one, other = where(first, image=2, **way), where(fewer, image=1, **way)
        assert [row["random"] for row in one.values()] == [row["random"] for row in other.values()]


def test_square_images_are_measured_once_as_both(tmp_path):
    shapes.draw(tmp_path / "drawn", "set", "natural", 10, 32)
    data = masked.Masked(tmp_path / "drawn/images", columns=tmp_path / "drawn/index.csv")
    rows, examples = measured(models.Model(network(VIT)), data)
    assert {row["aspect"] for row in rows} == {"both"} and {row["class_id"] for row in rows} == {255}
    assert all(row["jaccard"] == row["jaccard_void"] for row in rows)  # nothing is void
    assert examples["images"].dtype == examples["masks"].dtype == torch.uint8
    assert examples["numbers"].tolist() == [0, 2, 5, 7]


def test_attention_without_a_number_names_its_images(photographs):
    net = network(VIT)
    net.blocks[0].mlp.fc1.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinite values for e\.jpg to d\.jpg of set"):
        measured(models.Model(net), dataset(photographs), batch_images=3)


# ---- files ----


def test_images_and_masks_are_paired_by_list_or_columns(photographs):
    paths = [
        path
        for path, _ in folders.masked(
            photographs / "JPEGImages", photographs / "SegmentationClass", photographs / "val.txt"
        )
    ]
    assert paths == ["a.jpg", "b.jpg", "d.jpg", "e.jpg"]
    columns = photographs / "columns.csv"
    columns.write_text("path,mask\na.jpg,SegmentationClass/a.png\nb.jpg,\n")
    [(path, mask)] = folders.masked(photographs / "JPEGImages", columns=columns)
    assert (path, mask) == ("a.jpg", photographs / "SegmentationClass/a.png")
    columns.write_text("path,other\na.jpg,1\n")
    with pytest.raises(
        ValueError, match=r"JPEGImages has no masks: .*columns\.csv should name them in a column `mask`"
    ):
        folders.masked(photographs / "JPEGImages", columns=columns)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("SegmentationClass/d.png", "no picture", r"the mask .*/d\.png cannot be read"),
        (
            "SegmentationClass/d.png",
            Image.new("L", (24, 40)),
            r"/d\.png has 24x40 pixels, .*/d\.jpg has 40x24",
        ),
        ("SegmentationClass/d.png", Image.new("RGB", (40, 24)), r"the mask .*/d\.png has colours"),
        ("SegmentationClass/d.png", None, r"there is no mask .*/d\.png of the image .*/d\.jpg"),
        ("JPEGImages/d.jpg", "no picture", r"/d\.jpg cannot be read"),
        ("JPEGImages/d.jpg", "", r"/d\.jpg is empty"),
        ("val.txt", "a\nz\n", r"val\.txt names 'z', but .*JPEGImages has no such image"),
        ("val.txt", "\n", r"val\.txt names no image"),
    ],
)
def test_a_file_at_fault_is_told_in_one_line(photographs, name, content, says):
    path = photographs / name
    path.unlink()
    if isinstance(content, Image.Image):
        content.save(path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=says) as told:
        measured(models.Model(network(VIT)), dataset(photographs))
    assert "\n" not in str(told.value)


def test_a_mask_may_have_more_than_256_classes(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "images/a.png")
    values = np.zeros((16, 16), np.uint16)
    values[:8] = 919
    Image.fromarray(values).save(tmp_path / "a.png")
    rows, _ = measured(models.Model(network(VIT)), masked.Masked(tmp_path / "images", masks=tmp_path))
    assert {row["class_id"] for row in rows} == {919}


# ---- pictures ----


def test_a_picture_shows_image_mask_and_what_each_token_takes(photographs, tmp_path):
    paths = {}
    for name, entry in [("vit", VIT), ("deit", DEIT)]:
        paths[name] = tmp_path / f"{name}.safetensors"
        looked_at = models.Model(network(entry))
        looked_at.origin = {"timm": name}
        one = subject(looked_at, dataset(photographs), 4, {"size": 32})
        measuring.measure("segmentation", one, tmp_path / f"{name}.parquet", paths[name])
    drawn, told = measuring.picture("segmentation", paths)
    assert told["columns"] == ["image", "mask", "vit", "deit class", "deit shape"]
    assert told["rows"] == ["image 0", "image 1", "image 2", "image 3"]
    side, step = segmentation.EXAMPLE_PIXELS, segmentation.EXAMPLE_PIXELS + 4
    canvas = np.asarray(drawn).astype(int)
    assert canvas.shape == (4 * step - 4, 5 * step - 4, 3)
    image, mask, vit = (canvas[:side, n * step : n * step + side] for n in (0, 1, 2))
    _, values = seen(photographs, "a", side, side)
    assert np.array_equal((np.abs(mask - 0.4 * image).max(2) < 2), values == 0)
    grey = np.abs(mask - (0.45 * image + 0.55 * 150)).max(2) < 2
    assert (grey | (values != VOID)).all()
    rows, _ = measured(models.Model(network(VIT)), dataset(photographs), 32)
    share = where(rows, image=0, head=-1, aspect="squashed")
    dark = np.abs(vit - 0.4 * image).max(2) < 2
    for value in (7, 15):
        both, either = np.sum(~dark & (values == value)), np.sum(~dark | (values == value))
        assert both / either == pytest.approx(share[0, value]["jaccard_void"], abs=0.03)  # 192 for 32 pixels


# ---- in the warehouse ----


def scores(rows, **wanted):
    """Mean over classes, then over images, as numpy has it."""
    images = {}
    for (image, _), row in where(rows, **wanted).items():
        images.setdefault(image, []).append(row)
    return images


def test_the_ways_of_counting_are_what_they_say(photographs, tmp_path):
    model = models.Model(network(DEIT))
    model.origin = {"timm": "deit"}
    table = tmp_path / "shapes/vit/segmentation.parquet"
    one = subject(model, dataset(photographs), 4, {"size": 96})
    measuring.measure("segmentation", one, table, tmp_path / "examples.safetensors")
    rows = [{**row, "level": round(row["level"], 6)} for row in pq.read_table(table).to_pylist()]
    told = {
        "dataset": "shapes",
        "model": "vit",
        "measure": "segmentation",
        "model_family": "vit",
        "file": table,
    }
    path = Study(tmp_path).build(measures=[told])
    found = warehouse.query(path, "FROM segmentation_scores").to_pylist()
    assert len(found) == 5 * 2 and {row["images"] for row in found} == {4}
    for token in ("class", "shape"):
        got = {row["step"]: row for row in found if row["token"] == token}

        def of(head, column, aspect="squashed", token=token):
            images = scores(rows, head=head, aspect=aspect, token=token)
            return [[row[column] for row in images[image]] for image in sorted(images)]

        def mean(images):
            return np.mean([np.mean(classes) for classes in images])

        def best(column):
            heads = [of(head, column) for head in range(3)]
            return [np.max([heads[h][i] for h in range(3)], 0) for i in range(4)]

        assert got[1]["jaccard"] == pytest.approx(mean(best("jaccard_void")))
        assert got[1]["random"] == pytest.approx(mean(best("random_void")))
        assert got[2]["jaccard"] == pytest.approx(mean(best("jaccard")))
        assert got[3]["jaccard"] == pytest.approx(max(mean(of(head, "jaccard")) for head in range(3)))
        assert got[4]["jaccard"] == pytest.approx(mean(of(-1, "jaccard")))
        assert got[5]["jaccard"] == pytest.approx(mean(of(-1, "jaccard", "kept")))
        images = [np.mean(classes) for classes in of(-1, "jaccard")]
        margin = 1.959964 * np.std(images, ddof=1) / 2
        assert (got[4]["low"], got[4]["high"]) == pytest.approx(
            (np.mean(images) - margin, np.mean(images) + margin)
        )
        # Whoever chooses the head anew is never below; here the heads are not of one mind.
        assert got[2]["jaccard"] > got[3]["jaccard"] > min(mean(of(head, "jaccard")) for head in range(3))
        assert got[2]["jaccard"] > got[1]["jaccard"]
    by_class = warehouse.query(
        path, "FROM segmentation_by_class WHERE step = 4 AND token = 'class'"
    ).to_pylist()
    expected = {}
    for (_, value), row in where(rows, head=-1, aspect="squashed", token="class").items():
        expected.setdefault(value, []).append(row["jaccard"])
    assert {row["class_id"]: row["images"] for row in by_class} == {7: 2, 15: 4}
    assert {row["class_id"]: row["jaccard"] for row in by_class} == pytest.approx(
        {value: np.mean(those) for value, those in expected.items()}
    )


# ---- the whole ----

CONFIG = """\
datasets:
  voc: {root: voc/JPEGImages, masks: voc/SegmentationClass, list: voc/val.txt, void: 255}
pixels: {resize: 32, crop: 32, interpolation: bilinear}
models:
  vit: {family: vit, timm: test_vit, options: {img_size: 32, patch_size: 8, num_classes: 5}, weights: random}
  deit: {family: vit, timm: deit_tiny_distilled_patch16_224, weights: random,
         options: {img_size: 32, patch_size: 8, embed_dim: 24, depth: 1, num_heads: 2}}
  cnn: {family: cnn, timm: test_resnet, weights: random}
studies:
  objects: {datasets: voc, models: [vit, deit, cnn], measures: segmentation}
settings: {segmentation: {size: 32}}
seeds: [0]
"""


@pytest.fixture(scope="module")
def finished_voc(tmp_path_factory):
    project = Project.create(tmp_path_factory.mktemp("objects") / "project")
    project.path("config.yaml").write_text(CONFIG)
    voc(project.path("voc"))
    project.run()
    return project


@pytest.fixture
def project(finished_voc, tmp_path):
    return finished_voc.copy(tmp_path / "project")


@torch.no_grad()
def test_a_folder_like_that_of_pascal_voc_from_files_to_the_report(finished_voc):
    table = finished_voc.path("results/measures/voc/deit/segmentation.parquet")
    rows = [{**row, "level": round(row["level"], 6)} for row in pq.read_table(table).to_pylist()]
    entry = {
        "timm": "deit_tiny_distilled_patch16_224",
        "options": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
    }
    net = models.build(entry, finished_voc.path("results/weights/fetched/deit.safetensors")).net
    images = []
    for image, name in enumerate(sorted(VOC)):
        pixels, mask = seen(finished_voc.path("voc"), name, 32, 32)
        weights = attention_by_hand(net, pixels[None], 0)[0, :, 1, 2:]
        expected = by_the_authors(weights, mask, (4, 4))
        images.append(np.mean([max(heads) for heads in expected.values()]))
        found = where(rows, image=image, head=1, token="shape", aspect="squashed")
        assert {value: row["jaccard_void"] for (_, value), row in found.items()} == pytest.approx(
            {value: heads[1] for value, heads in expected.items()}, abs=1e-6
        )
    path = finished_voc.path("results/warehouse.duckdb")
    [score] = finished_query(
        finished_voc, path, "FROM segmentation_scores WHERE step = 1 AND model = 'deit' AND token = 'shape'"
    )
    assert score["jaccard"] == pytest.approx(np.mean(images), abs=1e-6)
    report = finished_voc.path("results/report.html").read_text()
    for expected in (
        "voc · mean of heads, aspect kept",
        "3 models on voc.",
        "segmentation of cnn, deit, vit",
        "ResNet has no class token",
        "deit class",
    ):
        assert expected in report
    assert not finished_voc.path("results/images").exists()  # nothing was packed


def finished_query(project, path, sql):
    """The rows of a query in the folder of a project, where the views of its warehouse find their files."""
    with contextlib.chdir(project.folder):
        return warehouse.query(path, sql).to_pylist()


@pytest.mark.slow
def test_an_edited_mask_or_list_is_measured_anew(project):
    assert project.plan() == {}
    mask = project.path("voc/SegmentationClass/a.png")
    Image.new("L", (40, 24), 3).save(mask)
    measured_anew = {"measure": 3, "draw_examples": 1}
    assert measured_anew.items() <= project.plan().items()
    project.run("--until", "draw_examples")
    project.path("voc/val.txt").write_text("a\nb\n")
    assert measured_anew.items() <= project.plan().items()
    project.run("--until", "draw_examples")
    assert {
        row["image"]
        for row in pq.read_table(project.path("results/measures/voc/vit/segmentation.parquet")).to_pylist()
    } == {0, 1}
    project.edit("config.yaml", "void: 255", "void: 254")
    assert measured_anew.items() <= project.plan().items()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("SegmentationClass", "Masks", "datasets.voc: there is no folder voc/Masks: it should hold a mask"),
        ("val.txt", "train.txt", "datasets.voc.list: there is no file voc/train.txt"),
        (
            ", list: voc/val.txt",
            "",
            "there is no mask voc/SegmentationClass/c.png of the image voc/JPEGImages/c.jpg",
        ),
        (", masks: voc/SegmentationClass, list: voc/val.txt", "", "voc has none: give it `masks: FOLDER`"),
        (
            "measures: segmentation",
            "perturbations: clean",
            "voc/JPEGImages has no folders in it: it should hold one",
        ),
    ],
)
def test_what_is_missing_is_told_before_any_job_runs(project, old, new, says):
    project.edit("config.yaml", old, new)
    told = project.run("--dry-run", check=False)
    assert says in " ".join(told.split())
    assert "Job stats" not in told
