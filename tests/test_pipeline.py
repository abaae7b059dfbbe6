"""The whole DAG on tests/config.yaml: what runs again after which edit, and what a mistake costs."""

import base64
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Project, save_random_weights

DROP = "scripts/patchwork/perturbations/random_drop.py"
AFTERWARDS = {"build_warehouse": 1, "draw_figure": 27, "write_report": 1}
MEASURED_ANEW = {"measure": 5, "draw_examples": 2}  # of one model on one dataset
LEARNT_ANEW = {"probe": 2, "few_shot": 2}  # from the tokens of two models
NEW_PERTURBATION = '''"""Turn the image upside down."""

FAMILY = "permutation"
AXIS = "turned"
LEVELS = [0, 1]
{variants}

def apply(images, level, noise{argument}):
    return images.flip(2) if level else images
'''


def test_a_finished_run_has_nothing_to_do(project):
    assert project.plan() == {}


def test_what_a_run_leaves_is_all_there_and_nothing_half_written(finished):
    assert finished.path("results/report.html").stat().st_size > 100_000
    assert not [*finished.path("results").rglob("*.part")]
    for strip in finished.path("results/predictions").rglob("*.parquet"):
        name = strip.relative_to(finished.path("results/predictions")).with_suffix("")
        assert finished.path(f"logs/predict/{name}.log").read_text()
        assert finished.path(f"benchmarks/predict/{name}.jsonl").read_text()


def test_touching_every_file_runs_nothing(project):
    sources = [
        f for part in ("rules", "scripts", "reports", "profiles") for f in project.path(part).rglob("*.*")
    ]
    for file in [*sources, project.path("Snakefile"), project.path("config.yaml")]:
        os.utime(file)
    # SQL and page are inputs; Snakemake knows by their content that they are the same.
    assert project.plan() == {}


def test_a_touched_result_runs_what_reads_it_if_it_is_large(project):
    for name in ("images/shapes.npy", "predictions/shapes/cnn/random_drop/4x4.parquet"):
        os.utime(project.path(f"results/{name}"))  # below 1 MB Snakemake compares what is in a file
    assert project.plan() == {}
    os.utime(project.path("results/weights/trained/vit.safetensors"))
    plan = project.plan()
    assert plan["predict"] > 0 and not {"train_stage", "export_weights", "pack_images"} & set(plan)


def test_a_folder_of_results_that_cannot_be_written_to_is_told_before_anything_runs(small_disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    project = Project.create(tmp_path / "project")
    save_random_weights(project.path("cnn.safetensors"), {"timm": "test_resnet"}, 10)
    project.path("results").symlink_to(small_disk)
    told = project.run(check=False)
    assert "results cannot be written to (Read-only file system): make it writable, or a link to" in told
    assert "Execute" not in told and "Traceback" not in told


def test_comments_docstrings_and_layout_run_nothing(project):
    project.edit(
        DROP, '"""Random PatchDrop: black out', '# A comment.\n"""Random PatchDrop, which blacks out'
    )
    project.edit(
        DROP,
        "    rows, columns = grids.parse(variant)",
        "    rows, columns = grids.parse(\n        variant\n    )",
    )
    assert project.plan() == {}


def test_a_model_is_one_line_and_runs_its_own_jobs(project):
    shutil.copy(project.path("cnn.safetensors"), project.path("other.safetensors"))
    line = "  other: {family: cnn, timm: test_resnet, options: {num_classes: 10}, weights: other.safetensors}"
    project.edit("config.yaml", "runs:", f"{line}\nruns:")
    project.edit("config.yaml", "models: [vit, cnn]", "models: [vit, cnn, other]")
    # Two: it belongs to the family `cnn`, which another study asks for.
    assert project.plan() == {
        **{"fetch_weights": 1, "predict": 2, "extract_tokens": 2, "probe": 1, "few_shot": 1},
        **MEASURED_ANEW,
        **AFTERWARDS,
    }


@pytest.mark.parametrize("variants", [[], ["a"], ["a", "b"]])
def test_a_perturbation_is_one_file_and_a_variant_one_word(project, variants):
    text = NEW_PERTURBATION.format(
        variants=f"VARIANTS = {variants}" * bool(variants), argument=", variant" * bool(variants)
    )
    project.path("scripts/patchwork/perturbations/turn.py").write_text(text)
    strips = max(1, len(variants))
    assert project.plan() == {"predict": strips, "draw_sheet": strips, **AFTERWARDS}


def test_an_axis_title_touches_the_report_alone(project):
    project.edit(DROP, 'AXIS = "share of', 'AXIS = "portion of')
    assert project.plan() == {"write_report": 1}


def test_levels_run_the_strips_of_their_perturbation(project):
    project.edit("config.yaml", "[0, 0.5, 0.9]", "[0, 0.25, 0.5, 0.9]")
    assert project.plan() == {"predict": 2, "draw_sheet": 1, **AFTERWARDS}


def test_what_the_paper_calls_a_model_and_its_images_touches_the_report_alone(project):
    project.edit("config.yaml", "family: drawn}", "family: drawn, published: ImageNet-val}")
    project.edit("config.yaml", "  vit: {family: vit,", "  vit: {family: vit, published: DeiT-T,")
    assert project.plan() == AFTERWARDS


def test_a_dataset_is_one_line(project):
    project.edit(
        "config.yaml", "pixels:", "  more: {draw: conflict, images: 10, size: 32, family: drawn}\npixels:"
    )
    assert project.plan() == {
        **{"draw_images": 1, "pack_images": 1, "map_saliency": 3, "score_foreground": 3},
        **{"predict": 5, "draw_sheet": 4, "measure": 8, "draw_examples": 2},
        **AFTERWARDS,
    }


def test_a_figure_is_one_file_and_two_jobs(project):
    shutil.copy(project.path("reports/figures/occlusion.py"), project.path("reports/figures/second.py"))
    assert project.plan() == {"draw_figure": 1, "write_report": 1}


def test_a_caption_touches_two_jobs(project):
    project.edit("reports/figures/occlusion.py", '"""', '"""In short: ')
    assert project.plan() == {"draw_figure": 1, "write_report": 1}


def test_the_logic_of_a_perturbation_runs_its_strips(project):
    project.edit(DROP, "grids.count(level, rows * columns)", "grids.count(level / 2, rows * columns)")
    assert project.plan() == {"predict": 2, "draw_sheet": 1, "measure": 2, **AFTERWARDS}


def test_the_logic_of_probes_extracts_no_tokens(project):
    project.edit("scripts/patchwork/probing.py", "WEIGHT_DECAY = 10,", "WEIGHT_DECAY = 20,")
    assert project.plan() == {"probe": 2, **AFTERWARDS}


def test_another_transfer_reads_the_tokens_that_are_there(project):
    project.edit(
        "config.yaml", "transfers: {", "transfers: {more: {data: train, test: 0.25, validation: 0.25}, "
    )
    project.edit("config.yaml", "{transfers: elsewhere", "{transfers: [elsewhere, more]")
    assert project.plan() == {"probe": 2, **AFTERWARDS}


def test_the_logic_of_tables_runs_all_strips(project):
    project.edit("scripts/patchwork/tables.py", 'compression="zstd"', 'compression="snappy"')
    assert project.plan() == {"predict": 7, **LEARNT_ANEW, **AFTERWARDS}


def test_another_head_maps_anew_and_runs_what_needs_the_map(project):
    project.edit("config.yaml", "grid: 4x4}", "grid: 4x4, head: 1}")
    mapped = {"map_saliency": 3, "score_foreground": 3}
    assert project.plan() == {**mapped, "predict": 1, "draw_sheet": 1, **AFTERWARDS}


def test_the_scores_of_the_foreground_touch_no_model(project):
    project.edit("scripts/patchwork/foreground.py", "noise.key(0,", "noise.key(1,")
    assert project.plan() == {"score_foreground": 3, **AFTERWARDS}


def test_a_network_beside_the_salient_one_runs_no_perturbation(project):
    project.edit("config.yaml", "beside: [vit_random, dino]", "beside: [vit_random, dino, vit_other]")
    other = "  vit_other: {family: attention, timm: test_vit, weights: random}\n"
    project.edit("config.yaml", "  vit_random:", f"{other}  vit_random:")
    once = dict.fromkeys(["fetch_weights", "map_saliency", "score_foreground"], 1)
    assert project.plan() == {**once, **AFTERWARDS}


def test_other_weights_run_one_model(project):
    shutil.copy(project.path("cnn.safetensors"), project.path("other.safetensors"))
    project.edit("config.yaml", "weights: cnn.safetensors", "weights: other.safetensors")
    taught = {"train_stage": 1, "export_weights": 1}  # the model whose teacher it is
    both = {"predict": 3, "measure": 10, "draw_examples": 3, "extract_tokens": 4, **LEARNT_ANEW}
    assert project.plan() == {"fetch_weights": 1, **taught, **both, **AFTERWARDS}


def test_a_learning_rate_runs_its_training_and_its_model(project):
    project.edit("config.yaml", "held_out: shapes,", "held_out: shapes, learning_rate: 1.0e-3,")
    assert project.plan() == {
        **{"train_stage": 2, "export_weights": 1, "map_saliency": 1, "score_foreground": 1},
        **{"craft_patch": 1, "predict": 4, "draw_sheet": 2},
        **AFTERWARDS,
    }


def test_how_patches_are_crafted_runs_what_shows_them(project):
    project.edit("config.yaml", "steps: 2", "steps: 3")
    assert project.plan() == {"craft_patch": 1, "predict": 1, "draw_sheet": 1, **AFTERWARDS}


def test_a_patch_of_another_size_computes_only_its_cells(project):
    project.edit("config.yaml", "adversarial_patch: [0, 0.25]", "adversarial_patch: [0, 0.15, 0.25]")
    assert project.plan() == {"craft_patch": 1, "predict": 1, "draw_sheet": 1, **AFTERWARDS}
    project.run("results/predictions/shapes/vit/adversarial_patch/vit.parquet")
    log = project.path("logs/predict/shapes/vit/adversarial_patch/vit.log").read_text()
    assert "2 of 5 cells to compute" in log


def test_a_patch_is_tried_on_another_model_by_a_word(project):
    project.edit("config.yaml", "models: vit, perturbations: adv", "models: [vit, cnn], perturbations: adv")
    assert project.plan() == {"predict": 1, **AFTERWARDS}
    project.edit("config.yaml", "adversarial_patch/vit", "adversarial_patch")
    assert project.plan() == {"craft_patch": 1, "predict": 3, "draw_sheet": 1, **AFTERWARDS}


def test_a_check_touches_no_model(project):
    with open(project.path("reports/checks.sql"), "a") as checks:
        checks.write("\n-- One is one.\nSELECT 1 WHERE 1 <> 1;\n")
    assert project.plan() == AFTERWARDS


def test_a_deleted_strip_is_made_again_from_its_cells(project):
    strip = project.path("results/predictions/shapes/vit/random_drop/4x4.parquet")
    before = strip.read_bytes()
    strip.unlink()
    assert project.plan() == {"predict": 1, **AFTERWARDS}
    project.run("results/predictions/shapes/vit/random_drop/4x4.parquet")
    assert strip.read_bytes() == before
    assert (
        "0 of 5 cells to compute" in project.path("logs/predict/shapes/vit/random_drop/4x4.log").read_text()
    )
    assert project.plan() == {}  # as its bytes are what they were


def test_a_new_level_and_a_new_seed_compute_only_their_cells(project):
    target = "results/predictions/shapes/vit/random_drop/4x4.parquet"
    before = pq.read_table(project.path(target))
    project.edit("config.yaml", "[0, 0.5, 0.9]", "[0, 0.25, 0.5, 0.9]")
    project.edit("config.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    project.run(target)
    assert (
        "5 of 10 cells to compute" in project.path("logs/predict/shapes/vit/random_drop/4x4.log").read_text()
    )
    after = pq.read_table(project.path(target)).to_pylist()
    assert len(after) == 200
    assert all(row in after for row in before.to_pylist())


def test_a_rerun_that_failed_is_not_forgotten(project):
    """Snakemake alone says "Nothing to be done" after the second run."""
    project.edit(
        "scripts/patchwork/shapes.py", "def draw(", "raise ValueError('broken on purpose')\n\n\ndef draw("
    )
    told = project.run(check=False)
    assert "draw_images shapes failed: broken on purpose (log: logs/draw_images/shapes.log)" in told
    assert "broken on purpose" in project.path("logs/draw_images/shapes.log").read_text()
    left = project.plan()
    assert left["draw_images"] == 3 and left["predict"] == 7 and left["write_report"] == 1


def test_a_check_that_fails_is_not_forgotten(project):
    with open(project.path("reports/checks.sql"), "a") as checks:
        checks.write("\n-- One is two.\nSELECT 1;\n")
    told = project.run(check=False)
    assert "build_warehouse failed: One is two." in told
    assert project.plan() == AFTERWARDS


def test_settings_of_the_evaluation_start_no_training(project):
    with open(project.path("config.yaml"), "a") as config:
        config.write("compute: {batch_images: 8}\n")
    mapped = {"map_saliency": 3, "score_foreground": 3, "draw_sheet": 1}
    assert project.plan() == {
        **{**mapped, "predict": 7, "measure": 10, "draw_examples": 3, "extract_tokens": 4},
        **LEARNT_ANEW,
        **AFTERWARDS,
    }


def test_a_new_file_beside_the_class_folders_runs_nothing(project):
    project.path("photographs").mkdir()
    shutil.copytree(
        project.path("results/folders/train/images"), project.path("photographs"), dirs_exist_ok=True
    )
    project.edit("config.yaml", "draw: natural, images: 20, size: 32", "root: photographs")
    project.run("results/images/shapes.npy")
    project.path("photographs/.DS_Store").touch()
    assert "Nothing to be done" in project.run("--dry-run", "results/images/shapes.npy")
    shutil.copy(project.path("photographs/star/00003.png"), project.path("photographs/star/more.png"))
    assert "pack_images" in project.run("--dry-run", "results/images/shapes.npy")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds:", "seed:", "config.yaml, line 39: seed is no key of Patchwork, did you mean 'seeds'?"),
        ("models: vit,", "models: vti,", "line 25: studies.permutation.models: 'vti' is not known, did"),
        ("0.9]", "1.9]", "config.yaml, line 34: levels.random_drop: level 1.9 is outside 0 to 1"),
        ("draw: natural, images: 20, size: 32", "root: lost", "datasets.shapes.root: there is no folder"),
        ("weights: cnn.", "weights: lost.", "models.cnn.weights: there is no file lost"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_config_is_told_before_anything_runs(project, old, new, says):
    project.edit("config.yaml", old, new)
    told = project.run(check=False)
    assert says in told
    assert "Select jobs to execute" not in told


def test_a_config_file_takes_the_place_of_the_default_one(project):
    project.path("config.yaml").rename(project.path("other.yaml"))
    project.path("config.yaml").write_text("seeds: [0, 1, 2]\nnonsense: 1\n")
    assert project.plan("--configfile", "other.yaml") == {}


def test_an_empty_class_folder_is_told_before_anything_runs(project):
    project.path("photographs/cat").mkdir(parents=True)
    project.edit("config.yaml", "draw: natural, images: 20, size: 32", "root: photographs")
    told = project.run("--dry-run", check=False)
    assert "the class folder photographs/cat has no images in it" in told


def test_rules_explain_themselves(project):
    told = project.run("--list-rules")
    assert "A strip of the grid: one model, one dataset, every level and seed of one perturbation." in told


def test_snakemake_makes_its_own_report(project):
    project.run("--report", "report.zip")
    with zipfile.ZipFile(project.path("report.zip")) as report:
        pictures = {Path(name).name for name in report.namelist() if name.endswith(".svg")}
        text = report.read("report/report.html").decode()
    assert {"occlusion.svg", "permutation.svg"} <= pictures
    assert "<p>Top-1 accuracy as patches of the images are blacked out.</p>" in text


def test_cells_that_nothing_uses_are_cleared_when_asked(project):
    cells = project.path("results/cells")
    used = {file for file in cells.rglob("*.parquet") if "level=0.9" not in file.name}
    assert len(used) < len([*cells.rglob("*.parquet")])
    (cells / "of-an-older-code").mkdir()
    project.edit("config.yaml", "[0, 0.5, 0.9]", "[0, 0.5]")
    project.run("clear_cells")
    assert {*cells.rglob("*.parquet")} == used
    assert not (cells / "of-an-older-code").exists()


def test_every_sheet_of_the_report_stands_under_its_own_name(finished):
    report = finished.path("results/report.html").read_text()
    shown = dict(re.findall(r"<figure><h3>([^<]+)</h3>.*?base64,([^\"]+)", report, re.S))
    sheets = [*finished.path("results/sheets").rglob("*.webp")]
    pictures = {
        name for name in shown if " of " in name
    }  # what measures have kept; of `cnn` attention has nothing
    assert pictures == {"conflict: segmentation of cnn, shape", "shapes: attention of shape"}
    shown = {name: sheet for name, sheet in shown.items() if name not in pictures}
    assert len(sheets) == len(shown) == 4
    for sheet in sheets:
        dataset, perturbation, variant = sheet.with_suffix("").parts[-3:]
        name = f"{dataset}: {perturbation.replace('_', ' ')}" + f", {variant.replace('_', ' ')}" * (
            variant != "plain"
        )
        assert shown[name] == base64.b64encode(sheet.read_bytes()).decode()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("results/figures/lesion.json", "that the studies ask for, 'lesion' is not known"),
        (
            "results/predictions/train/vit/adversarial_patch/vit.parquet",
            "patches are crafted on train and cannot",
        ),
        ("results/predictions/shapes/vit/random_drop/9x9.parquet", "'random_drop/9x9' is not known"),
    ],
)
def test_what_cannot_be_made_is_told_when_it_is_asked_for_by_path(project, target, says):
    assert says in " ".join(project.run("--dry-run", target, check=False).split())
