"""Numbers of this run beside those of the paper: every experiment, with published numbers typed by hand."""

import csv
import json
import runpy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vl_convert
import yaml

from conftest import COLUMNS, ROOT
from patchwork import tables, theme, warehouse
from patchwork.report import paper
from test_corruption_errors import ALL_FIVE, COMMON, Corrupted
from test_transfer import readout, right
from test_warehouse import CLASSES, Study

NETWORKS = {
    "small": "DeiT-S",
    "base": "DeiT-B",
    "tiny": "DeiT-T",
    "resnet": "ResNet50",
    "large": "ViT-L",
    "nopos": "DeiT-T without positions",
    "patch22": "DeiT-T patch 22",
    "shape": "DeiT-T-SIN distilled",
    "other": None,
}
DATASETS = {"imagenet": "ImageNet-val", "cues": "cue-conflict", "voc": "VOC12-val", "drawn": None}
PUBLISHED_AS = [
    {"kind": kind, "name": name, "published": published, "head": "shape" if name == "shape" else None}
    for kind, names in (("model", NETWORKS | {"dino": "DINO ViT-S/16"}), ("dataset", DATASETS))
    for name, published in names.items()
    if published
]
STRIPS = {
    ("random_drop", "14x14"): ("occlusion", [0, 0.5, 0.9]),
    ("random_drop", "8x8"): ("occlusion", [0, 0.5]),
    ("offset_drop", "14x14"): ("occlusion", [0, 0.5]),
    ("offset_drop", "14x14_wrap"): ("occlusion", [0, 0.5]),
    ("pixel_drop", "plain"): ("occlusion", [0, 0.5]),
    ("salient_drop", "mass"): ("saliency", [0, 0.5]),
    ("nonsalient_drop", "mass"): ("saliency", [0, 0.1, 0.5]),
    ("salient_drop", "area"): ("saliency", [0, 0.5]),
    ("feature_drop", "zero_25"): ("lesion", [0, 1, 3]),
    ("feature_drop", "zero_75"): ("lesion", [0, 5]),
    ("feature_drop", "mask_25"): ("lesion", [0, 1]),
    ("placement", "plain"): ("placement", [0, 1, 4]),
    ("shuffle_grid", "plain"): ("permutation", [1, 4, 196]),
}
CLEAN = {("clean", "plain"): ("clean", [0])}
SALIENCY = {"model": "dino", "head": "1", "grid": "14x14"}
DOGS = ["n02099601", "n02110958", "n02085620", "n02085782", "n02085936"]
CATEGORIES = ["boat", "bear", "airplane", "knife", "dog"]
# Read in the paper, its tables and figures; figure 3 to a point.
EXPECTED = {
    ("random drop", "small", "14x14 grid, level 0.5"): 0.708,
    ("random drop", "base", "14x14 grid, level 0.9"): 0.365,
    ("offset drop", "base", "14x14 grid, level 0.5"): 0.549,
    ("offset drop", "resnet", "14x14 grid, level 0.5"): 0.009,
    ("pixel drop", "base", "level 0.5"): 0.154,
    ("salient drop", "base", "mass, level 0.5"): 0.746,
    ("nonsalient drop", "base", "mass, level 0.5"): 0.610,
    ("nonsalient drop", "resnet", "mass, level 0.1"): 0.477,
    ("feature drop", "base", "zero, 25 %, level 1"): 0.5736,
    ("feature drop", "base", "zero, 25 %, level 3"): 0.4846,
    ("feature drop", "resnet", "zero, 75 %, level 5"): 0.7357,
    ("placement", "resnet", "level 1"): 0.0559,
    ("placement", "small", "level 4"): 0.6279,
    ("shuffle grid", "tiny", "level 1"): 0.721,
    ("shuffle grid", "tiny", "level 196"): 0.372,
    ("shuffle grid", "nopos", "level 4"): 0.682,
    ("untouched images", "patch22", "top-1"): 0.687,
    ("untouched images", "shape", "top-1"): 0.634,
    ("shape bias", "small", "all categories, pooled"): 0.30,
    ("shape bias", "shape", "all categories, pooled"): 0.44,
    ("shape bias", "small", "boat"): 0.042,
    ("information loss", "base", "level 0.5"): 0.77,
    ("information loss", "large", "Dog, level 0.5"): 0.806,
    ("segmentation", "tiny", "class token, as the authors"): 0.322,
    ("token similarity", "shape", "last block"): 0.35,
    ("block accuracy", "small", "block 11"): 0.793,
    ("transfer", "resnet", "last block"): 0.413,
}
MEASURED = {
    ("imagenet", "base", "information_loss"): {
        "kind": ["image"] * 2,
        "level": [0.5] * 2,
        "seed": [0] * 2,
        "index": [0, 1],
        "value": [0.7, 0.9],
    },
    ("voc", "tiny", "segmentation"): {
        "image": [0, 1],
        "class_id": [1, 1],
        "token": ["class"] * 2,
        "head": [0] * 2,
        "level": [0.9] * 2,
        "aspect": ["both"] * 2,
        **{name: [0.2, 0.4] for name in ("jaccard", "jaccard_void", "random", "random_void")},
    },
    ("imagenet", "shape", "token_similarity"): {
        "image": [0, 1] * 2,
        "block": [11, 11, 12, 12],
        "cosine": [0.9, 0.9, 0.2, 0.4],
        "cosine_before_norm": [1] * 4,
    },
    ("imagenet", "small", "block_accuracy"): {"image": [0, 1], "block": [11, 11], "rank": [0, 3]},
}
MEASURED["imagenet", "large", "information_loss"] = MEASURED["imagenet", "base", "information_loss"]


def measures(folder):
    """The files of MEASURED, and a linear readout of two networks on what is called cub."""
    for (dataset, model, name), values in MEASURED.items():
        schema = pa.schema({n: pa.type_for_alias(kind) for n, kind in COLUMNS[name].items()})
        yield dataset, model, name, pa.table(values, schema)
    probes = pa.Table.from_pylist([readout("last", "none", right(100), classes=200)], tables.PROBES)
    yield from (("cub", model, "probe", probes) for model in ("resnet", "other"))


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """What builds a warehouse of all experiments, under this saliency."""

    def made(saliency):
        folder = tmp_path_factory.mktemp("paper")
        study = Study(folder, dict.fromkeys(NETWORKS, "any"), "imagenet", STRIPS | CLEAN)
        named(study, DOGS)
        cues = Study(folder, dict.fromkeys(NETWORKS, "any"), "cues", CLEAN)
        named(cues, CATEGORIES)
        textures = [CATEGORIES[(label + 1) % CLASSES] for label in cues.index["label"].to_pylist()]
        cues.index = cues.index.append_column("texture_class", [textures])
        drawn = Study(folder, {"small": "any"}, "drawn", STRIPS)
        asked = []
        for dataset, model, name, rows in measures(folder):
            file = folder / f"{dataset}/{model}/{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, file)
            facts = {"dataset": dataset, "model": model, "measure": name, "model_family": "any"}
            asked.append(facts | {"file": file})
        more = {"measures": asked, "published_as": PUBLISHED_AS, "saliency": saliency}
        return study.build(beside=[cues, drawn], **more)

    return made


def named(study, names):
    column = study.index.column_names.index("class_name")
    classes = [names[label] for label in study.index["label"].to_pylist()]
    study.index = study.index.set_column(column, "class_name", [classes]).replace_schema_metadata(
        {"classes": json.dumps(["of ImageNet"] * 1000)}
    )


@pytest.fixture(scope="module")
def path(build):
    return build(SALIENCY)


@pytest.fixture(scope="module")
def beside(path):
    return warehouse.query(path, "FROM beside_paper").to_pylist()


@pytest.mark.parametrize("key", EXPECTED, ids=" ".join)
def test_a_number_of_the_paper_stands_beside_what_was_measured(beside, key):
    found = [row for row in beside if (row["experiment"], row["model"], row["condition"]) == key]
    assert EXPECTED[key] in [pytest.approx(row["published"]) for row in found]
    for row in found:
        assert row["difference"] == pytest.approx(row["measured"] - row["published"])
        if row["low"] is not None:
            assert row["low"] <= row["measured"] + 1e-9 and row["measured"] <= row["high"] + 1e-9


def test_what_the_paper_does_not_tell_has_no_row(beside):
    assert {row["experiment"] for row in beside} == {experiment for experiment, _, _ in EXPECTED}
    assert not {row["model"] for row in beside} & {"other", "dino"}
    assert {row["dataset"] for row in beside} == {"imagenet", "cues", "voc", "cub"}
    conditions = " ".join(row["condition"] for row in beside)
    assert "8x8" not in conditions and "wrap" not in conditions and "mask" not in conditions
    assert "area" not in conditions
    keys = [
        tuple(row[n] for n in ("experiment", "model", "dataset", "condition", "source")) for row in beside
    ]
    assert len(set(keys)) == len(keys)


def test_what_was_measured_is_what_the_run_says(path, beside):
    measured = {
        (row["experiment"], row["model"], row["condition"]): row["measured"]
        for row in beside
        if row["dataset"] == "imagenet"
    }
    [row] = warehouse.query(
        path,
        "SELECT avg((rank = 0)::INT) AS top1 FROM predictions WHERE dataset = 'imagenet' AND model = 'base' "
        "AND perturbation = 'random_drop' AND variant = '14x14' AND level = 0.9::FLOAT",
    ).to_pylist()
    assert measured["random drop", "base", "14x14 grid, level 0.9"] == pytest.approx(row["top1"])
    assert measured["token similarity", "shape", "last block"] == pytest.approx(0.3)
    assert measured["information loss", "base", "level 0.5"] == pytest.approx(0.8)
    assert measured["block accuracy", "small", "block 11"] == 0.5


@pytest.mark.parametrize("change", [{"head": "mean"}, {"grid": "8x8"}, {"model": "small"}], ids=str)
def test_other_salient_patches_are_not_compared(build, change):
    found = warehouse.query(build(SALIENCY | change), "FROM beside_paper").to_pylist()
    assert "random drop" in {row["experiment"] for row in found}
    assert not {row["experiment"] for row in found} & {"salient drop", "nonsalient drop"}


def test_mean_corruption_errors_are_compared_if_they_are_such(tmp_path):
    wrong = {None: 10, **dict.fromkeys(COMMON, 200)}
    for folder, severities, rows in [("whole", ALL_FIVE, 1), ("part", [1, 3], 0)]:
        study = Corrupted(tmp_path / folder, 100, {"small": wrong}, severities, "n0000000{}")
        named_as = [{"kind": "model", "name": "small", "published": "DeiT-S", "head": None}]
        named_as += [{"kind": "dataset", "name": "set", "published": "ImageNet-val", "head": None}]
        built = study.build(published_as=named_as)
        found = warehouse.query(built, "FROM beside_paper WHERE experiment = 'corruption error'").to_pylist()
        assert [row["published"] for row in found] == [pytest.approx(0.546)] * rows


@pytest.mark.parametrize(
    ("name", "column", "channel"),
    [
        *((name, "published", "y") for name in ("occlusion", "saliency_mass", "lesion", "permutation")),
        *((name, "published", "y") for name in ("placement", "block_accuracy")),
        *((name, "published", "x") for name in ("shape_bias", "shape_bias_by_category", "segmentation")),
        ("transfer", "published", "x"),
        ("information_loss", "published_number", "y"),
        ("information_loss_groups", "published_number", "x"),
        ("token_similarity", "published_number", "y"),
    ],
)
def test_charts_show_the_papers_numbers_in_the_colours_of_the_models(path, name, column, channel):
    figure = runpy.run_path(ROOT / f"reports/figures/{name}.py")
    rows = warehouse.query(path, figure["SQL"])
    spec = json.loads(theme.specification(figure["chart"](rows), ""))
    hollow = [
        layer["encoding"]
        for layer in spec["spec"]["layer"]
        if layer["encoding"].get(channel, {}).get("field") == column and layer["mark"].get("filled") is False
    ]
    [encoding] = hollow
    assert encoding["color"]["field"] == ("trained_on" if name == "shape_bias" else "model")
    models = {row["model"] for row in rows.to_pylist() if row[column] is not None}
    assert models and models <= {name for name, published in NETWORKS.items() if published}
    assert vl_convert.vegalite_to_svg(spec)


def test_a_network_of_this_run_is_not_drawn_as_another_once_more(path):
    sql = runpy.run_path(ROOT / "reports/figures/block_accuracy.py")["SQL"]
    drawn = {row["model"] for row in warehouse.query(path, sql).to_pylist()}
    assert drawn == {"small", "DeiT-B (published)", "DeiT-T (published)"} - {
        f"{network} (published)" for network in NETWORKS.values()
    }


def test_the_section_tells_shares_in_percent_and_nothing_where_there_is_nothing():
    row = {"experiment": "random drop", "model": "<small>", "dataset": "d", "condition": "level 0.5"}
    row |= {"unit": "%", "measured": 0.7, "low": 0.69, "high": 0.71, "published": 0.708, "difference": -0.008}
    row |= {"source": "figure 3"}
    told = paper.beside([row])
    for expected in ("&lt;small&gt;", "70.0 %", "69.0 % to 71.0 %", "70.8 %", "-0.8 %", "figure 3"):
        assert f">{expected}</td>" in told
    number = row | {"unit": "", "low": None, "high": None}
    assert ">0.708</td>" in paper.beside([number]) and ">-</td>" in paper.beside([number])
    assert paper.beside([]) == ""


def test_the_config_can_name_what_is_published_and_nothing_else(path):
    schema = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())["properties"]
    networks, datasets = (
        set(schema[kind]["additionalProperties"]["properties"]["published"]["enum"])
        for kind in ("models", "datasets")
    )
    told = warehouse.query(
        path,
        "SELECT DISTINCT network_of(experiment, model, condition) AS network, dataset, experiment "
        "FROM published WHERE place_in_paper(experiment, model) IS NOT NULL "
        "AND experiment <> 'shape_bias_raw_geirhos' AND condition NOT LIKE '%leaderboard%'",
    ).to_pylist()
    assert networks == {row["network"] for row in told} - {"-"} | {"DINO ViT-S/16"}
    own = {row["dataset"] for row in told if not row["experiment"].startswith("off_the_shelf")}
    assert datasets == own - {"ImageNet-C"}


def test_published_numbers_have_a_source_and_a_confidence():
    with open(ROOT / "reports/published.csv", newline="") as opened:
        rows = [*csv.DictReader(opened)]
    assert len(rows) > 900 and len({tuple(row.values()) for row in rows}) == len(rows)
    for row in rows:
        assert row["source"] and 0 < float(row["confidence"]) <= 1
