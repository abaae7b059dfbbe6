"""What is given to the workflow (weights, images, names) is data: none of it is run, or leads anywhere."""

import ast
import csv
import html.parser
import json
import pickle
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from conftest import COLUMNS, LISTS, ROOT, SQL, opened
from patchwork import building, checkpoints, fetching, folders, models, packed, pixels, strips, warehouse
from patchwork.report import page
from test_models import Trap
from test_page import FIGURES, draw

SOURCES = sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "reports").rglob("*.py")])
RULE_FILES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]


# ---- No code in files. ----


def calls(tree):
    """(name, arguments by keyword) of every call, the name as it is written: torch.load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            arguments = {each.arg: getattr(each.value, "value", None) for each in node.keywords}
            yield ast.unparse(node.func), arguments


SAFE = {  # what can unpickle, and the argument that forbids it
    "torch.load": ("weights_only", True),
    "load_state_dict": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}
NEVER = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "np.fromregex"}
NEVER |= {f"{module}.{name}" for module in ("pickle", "marshal") for name in ("load", "loads")}
NEVER |= {"pickle.Unpickler", "shelve.open", "joblib.load", "torch.hub.load", "load_state_dict_from_url"}


def dangers(source):
    """The calls in a program that might run what a file holds, or a shell."""
    for name, arguments in calls(ast.parse(source)):
        if name in NEVER or arguments.get("shell"):
            yield name
        for safe, (argument, value) in SAFE.items():
            own = name == safe if "." in safe else name.startswith("timm.") and name.endswith(safe)
            if own and arguments.get(argument) is not value:
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_read_that_could_be_code(path):
    assert [*dangers(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, mmap_mode='r')",
        "np.load(p, allow_pickle=True)",
        "timm.models.load_state_dict(p)",
        "pickle.load(f)",
        "eval(text)",
        "subprocess.run(words, shell=True)",
        "os.system(text)",
    ],
)
def test_a_reader_of_code_is_found(source):
    assert [*dangers(source)]


def test_no_rule_calls_a_shell_and_every_wildcard_is_constrained():
    text = "".join(path.read_text() for path in RULE_FILES)
    assert not re.search(r"^\s*(shell|run|notebook|wrapper|cwl):", text, re.M)
    constrained = "".join(re.findall(r"^ *wildcard_constraints:\n((?:    +\w+=.*\n)+)", text, re.M))
    known = set(re.findall(r"^ +(\w+)=", constrained, re.M))
    outputs = re.findall(r"^    output:\n((?:        .*\n)+)", text, re.M)
    constants = dict(re.findall(r"^([A-Z_]+) = \"(results/.*)\"$", text, re.M))
    paths = "".join(outputs)
    paths += "".join(constants[name] for name in re.findall(r"\b[A-Z_]{3,}\b", paths))
    assert set(re.findall(r"\{(\w+)\}", paths)) <= known
    assert len(outputs) > 15


def test_urls_come_from_the_config_alone():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                told = re.findall(r"https?://\S+", node.value)
                assert not told or path.name == "urls.py" or "\n" in node.value, (path, told)


def trap(kind, path, sprung):
    """A file that would make `sprung` if it were unpickled."""
    malicious = Trap(sprung)
    if kind == "npy":
        np.save(path, np.array([malicious], object), allow_pickle=True)
    elif kind == "pickle as npy":
        path.write_bytes(pickle.dumps(malicious))
    elif kind == "parquet":
        field = pa.field("image", pa.int32()).with_metadata(
            {
                "ARROW:extension:name": "arrow.py_extension_type",
                "ARROW:extension:metadata": pickle.dumps(malicious),
            }
        )
        facts = {"classes": '["a"]', "digest": "d"}
        pq.write_table(pa.table([pa.array([0], pa.int32())], pa.schema([field], facts)), path)
    elif kind == "safetensors of no header":
        path.write_bytes((1 << 62).to_bytes(8, "little") + pickle.dumps(malicious))
    elif kind == "safetensors of wrong header":
        header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    elif kind in ("pth", "pt"):
        torch.save({"state_dict": malicious, "origin": malicious}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "name", "read"),
    [
        ("npy", "a.npy", lambda path: packed.Packed(path, path.parent / "whole.parquet")),
        ("pickle as npy", "a.npy", lambda path: packed.Packed(path, path.parent / "whole.parquet")),
        ("pt", "a.pt", checkpoints.load),
        ("pth", "a.pth", lambda path: fetching.read_checkpoint(path, None)),
        ("pth", "a.safetensors", lambda path: fetching.read_checkpoint(path, None)),
        ("pickle as npy", "a.pth", lambda path: fetching.read_checkpoint(path, None)),
        ("safetensors of no header", "a.safetensors", lambda path: fetching.read_checkpoint(path, None)),
        ("safetensors of wrong header", "a.safetensors", lambda path: fetching.read_checkpoint(path, None)),
        ("safetensors of no header", "a.safetensors", models.load),
        ("safetensors of wrong header", "a.safetensors", models.load),
    ],
)
def test_code_in_a_file_is_not_run_and_the_file_is_named(tmp_path, kind, name, read):
    pixels.write_index(tmp_path / "whole.parquet", [{"image": 0, "label": 0}], {"classes": ["a"]}, "d")
    path = trap(kind, tmp_path / name, tmp_path / "sprung")
    with pytest.raises(ValueError, match=f"^{path} is (damaged|not a plain file of weights)") as error:
        read(path)
    assert "\n" not in str(error.value) and not (tmp_path / "sprung").exists()


def test_code_in_the_metadata_of_a_parquet_file_is_not_run(tmp_path):
    path = trap("parquet", tmp_path / "a.parquet", tmp_path / "sprung")
    building.read_footers([path], [], "predict")
    pq.read_table(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"path,mask\na\xff\xfe.png,b\n", b"path,mask\n" + b"a" * 200_000])
def test_a_csv_that_is_none_is_named(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path}/a.csv is no CSV file") as error:
        folders.read_columns(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


# ---- Names. ----

OWNED = "document.title='owned'"
CLASSES = [
    "--help",
    "-rf *",
    "; touch owned;",
    "$(touch owned)",
    "`touch owned`",
    "' OR 1=1; DROP TABLE images; --",
    "\"quoted\", 'twice'",
    f"<img src=x onerror={OWNED}>",
    f"<script>{OWNED}<script>",
    f'"><svg onload={OWNED}>',
    "{model} %s {0} ${HOME}",
    "Érable 漢字 \N{PILE OF POO}",
    "a\\u003cb\\n",
    "datum.x' + alert(1) + '",
]
BROKEN = f"<b onmouseover={OWNED}>' OR '1'='1.png"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A warehouse of a folder whose classes and files have such names, after packing and predictions."""
    folder = tmp_path_factory.mktemp("names")
    rows = []
    for number, name in enumerate(CLASSES):
        for image in (f"{name} 1.png", "-o.png"):
            path = folder / "images" / name / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number * 9, 80, len(rows))).save(path)
            rows.append([f"{name}/{image}", CLASSES[number - 1]])
    (folder / "images" / CLASSES[0] / BROKEN).write_bytes(b"none")
    with open(folder / "columns.csv", "w", newline="") as opened:
        csv.writer(opened).writerows([["path", "texture_class"], *rows])
    images, index = folder / "shapes.npy", folder / "shapes.parquet"
    view = {"resize": 32, "crop": 32, "interpolation": "bilinear"}
    pixels.pack(folder / "images", images, index, view, columns=folder / "columns.csv", skip=True)
    data = packed.Packed(images, index)
    entry = {"timm": "test_vit", "options": {"img_size": 32, "patch_size": 8, "num_classes": len(CLASSES)}}
    torch.manual_seed(0)
    models.save(folder / "w.safetensors", models.create(entry).state_dict(), classes=data.classes)
    model = models.build(entry, folder / "w.safetensors", data.classes)
    compute = {"dtype": "float32", "batch_images": 8}
    files, asked = [], []
    for perturbation, variant, family, cells in [
        ("clean", "plain", "clean", [(0, 0)]),
        ("random_drop", "4x4", "occlusion", [(0, 0), (0.5, 0)]),
    ]:
        path = folder / f"predictions/shapes/vit/{perturbation}/{variant}.parquet"
        path.parent.mkdir(parents=True)
        strip = strips.Strip(model, data, "shapes", perturbation, variant, compute)
        strips.evaluate(strip, cells, folder / "cells", path, "code")
        files.append(path)
        asked.append(
            {"dataset": "shapes", "model": "vit", "perturbation": perturbation, "variant": variant}
            | {"family": family, "model_family": "vit", "cells": [list(cell) for cell in cells]}
        )
    given = {"predictions": files, "indexes": [index], "foregrounds": [], "trainings": []}
    given |= LISTS
    told = {"asked": asked, "reference": "vit", "columns": COLUMNS}
    building.build(folder / "w.duckdb", given, told, *SQL, threads=1, memory_mb=500)
    return folder


@pytest.fixture(scope="module")
def figures(study):
    return {name: draw(study / "w.duckdb", name) for name in ("shape_bias_by_category", "occlusion")}


@pytest.fixture(scope="module")
def report(study, figures):
    specs = []
    for name, spec in figures.items():
        (study / f"{name}.json").write_text(json.dumps(spec))
        specs.append((name, FIGURES[name]["doc"], study / f"{name}.json"))
    text = page.page(
        (ROOT / "reports/page.html").read_text(),
        study / "w.duckdb",
        specs,
        [],
        [],
        [],
        {},
        {"classes": CLASSES},
    )
    (study / "report.html").write_text(text)
    return study / "report.html"


def test_hostile_names_stay_what_they_are_to_the_warehouse(study, figures):
    seen = warehouse.query(study / "w.duckdb", "SELECT DISTINCT class_name, path, texture_class FROM images")
    assert {row["class_name"] for row in seen.to_pylist()} == {*CLASSES}
    assert {row["texture_class"] for row in seen.to_pylist()} - {None} == {*CLASSES}
    assert len(seen) == 2 * len(CLASSES) + 1
    skipped = warehouse.query(study / "w.duckdb", "FROM skipped").to_pylist()
    assert [row["path"] for row in skipped] == [f"{CLASSES[0]}/{BROKEN}"]
    [rows] = figures["shape_bias_by_category"]["datasets"].values()
    assert {row["class_name"] for row in rows} and {row["class_name"] for row in rows} <= {*CLASSES}


class Elements(html.parser.HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_hostile_names_make_no_element_of_the_report(report):
    text = report.read_text()
    found = Elements(text).found
    assert [tag for tag, _ in found].count("script") == 4  # Vega, two figures, what draws them
    assert not {"img", "svg", "b"} & {tag for tag, _ in found}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert html.escape(CLASSES[7]) in text and CLASSES[7] not in text and html.escape(BROKEN) in text


def test_hostile_names_run_nothing_in_a_browser_and_its_tooltips(chromium, report, figures):
    told = []
    with opened(chromium, report) as page:
        tooltip = page.locator("#vg-tooltip-element")
        for mark in page.locator("#chart-shape_bias_by_category .mark-symbol path").all():
            mark.hover(force=True)
            assert tooltip.locator("img, svg, script").count() == 0
            told.append(tooltip.text_content())
        assert page.title().startswith("Patchwork")
    [rows] = figures["shape_bias_by_category"]["datasets"].values()
    for name in {row["class_name"] for row in rows}:
        assert [each for each in told if name in each], name


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "\x1b[2J", "\udcff"])
def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path, name):
    for path in (tmp_path / "file/class" / f"{name}.png", tmp_path / "folder" / name / "a.png"):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        shutil.copy(tmp_path / "a.png", path)
    for kind in ("file", "folder"):
        with pytest.raises(ValueError, match="has a name that is no text: rename it") as error:
            folders.listing(tmp_path / kind)
        assert str(error.value).isprintable()
