"""What holds for every measure, and the similarity of tokens against numpy."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from conftest import MEASURES
from patchwork import measuring, models
from patchwork.measures import token_similarity

SIDE = 32
VIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}


class Dataset:
    """Random images that need no file."""

    def __init__(self, images=5, side=SIDE):
        self.values = np.random.default_rng(0).integers(0, 256, (images, 3, side, side), np.uint8)
        self.labels, self.paths = np.zeros(images, np.int64), [f"{i}.png" for i in range(images)]

    def read(self, first, last):
        return self.values[first:last]


def model(name="deit_tiny_distilled_patch16_224", **options):
    torch.manual_seed(0)
    built = models.Model(timm.create_model(name, **options).eval(), (SIDE, SIDE))
    built.origin = {"timm": name}
    return built


def subject(looked_at, data=None, batch_images=2, settings=None, seeds=(0,)):
    compute = {"dtype": "float32", "batch_images": batch_images}
    return measuring.Subject(looked_at, data or Dataset(), "set", compute, settings or {}, seeds)


@torch.inference_mode()
def test_the_similarity_of_tokens_is_that_of_a_pass_by_hand():
    distilled = model(**VIT)
    net, data = distilled.net, Dataset()
    found, examples = token_similarity.measure(subject(distilled, data))
    x = net.patch_embed(distilled.prepare(torch.from_numpy(data.values) / 255))
    x = torch.cat([net.cls_token.expand(5, -1, -1), net.dist_token.expand(5, -1, -1), x], 1) + net.pos_embed
    for number, block in enumerate(net.blocks, 1):
        x = block(x)
        rows = found["block"] == number
        for name, tokens in [("cosine", net.norm(x)), ("cosine_before_norm", x)]:
            one, other = tokens[:, 0].numpy(), tokens[:, 1].numpy()
            norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            assert found["image"][rows].tolist() == [0, 1, 2, 3, 4]
            assert found[name][rows] == pytest.approx((one * other).sum(1) / norms, abs=1e-5)
    assert examples == {}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_vit2", "levit_128s"])
def test_only_a_second_token_with_a_head_has_a_similarity(name):
    assert "no second token" in token_similarity.refuses(model(name))
    assert token_similarity.refuses(model(**VIT)) is None


def test_a_measure_does_not_depend_on_the_size_of_batches():
    once, more = (token_similarity.measure(subject(model(**VIT), batch_images=n))[0] for n in (5, 2))
    assert once["block"].tolist() == more["block"].tolist()
    assert once["cosine"] == pytest.approx(more["cosine"], abs=1e-5)


def test_a_table_has_the_columns_that_the_measure_names(tmp_path):
    table, examples = tmp_path / "a/table.parquet", tmp_path / "a/examples.safetensors"
    measuring.measure("token_similarity", subject(model(**VIT)), table, examples)
    rows = pq.read_table(table)
    assert {field.name: str(field.type).replace("float", "float32") for field in rows.schema} == (
        token_similarity.COLUMNS
    )
    assert len(rows) == 15 and rows.schema.metadata[b"refused"] == b""
    assert safetensors.torch.load_file(examples) == {}


def test_where_a_measure_has_no_meaning_the_table_is_empty_and_tells_why(tmp_path):
    table, examples = tmp_path / "table.parquet", tmp_path / "examples.safetensors"
    measuring.measure("token_similarity", subject(model("test_resnet")), table, examples)
    assert not len(pq.read_table(table))
    assert b"ResNet has no second token" in pq.read_schema(table).metadata[b"refused"]
    drawn, told = measuring.picture("token_similarity", {"cnn": examples})
    assert isinstance(drawn, Image.Image) and told == {"columns": [], "rows": []}


def test_batches_are_halved_when_memory_ends():
    looked_at = subject(model(**VIT), batch_images=4)

    def look(first, last):
        if last - first > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return first, last

    assert list(looked_at.each(look)) == [(0, 2), (2, 4), (4, 5)]

    def always(first, last):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(looked_at.each(always))


def test_values_that_are_no_numbers_name_their_images():
    broken = model(**VIT)
    broken.net.blocks[1].mlp.fc1.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinite values for 0\.png to 1\.png of set"):
        token_similarity.measure(subject(broken))


@pytest.mark.parametrize("name", MEASURES)
def test_the_warehouse_knows_the_types_of_every_measure(name):
    from patchwork.building import SQL_TYPES

    entry = MEASURES[name]
    assert set(entry["columns"].values()) <= set(SQL_TYPES)
    assert entry["doc"] and "Source" in entry["doc"]
