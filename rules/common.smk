"""What exists, what the studies ask for, and where it is written. No rules here."""

import os
import sys
from pathlib import Path

import yaml
from snakemake.utils import validate

# Relative, so that results may move together with the workflow without being made again.
HERE = os.path.relpath(Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parent)
sys.path.insert(0, f"{HERE}/scripts")

from patchwork import settings
from patchwork.catalogue import catalogue, cells, variants
from patchwork.urls import is_url

REPLACED = workflow.config_settings.replace_workflow_config
CONFIG_FILES = workflow.overwrite_configfiles if REPLACED else workflow.configfiles[::-1]

perturbations = variants(catalogue(f"{HERE}/scripts/patchwork/perturbations"))
try:
    settings.check(
        config,
        yaml.safe_load(Path(HERE, "rules/config.schema.yaml").read_text()),
        CONFIG_FILES,
        perturbations,
    )
except ValueError as error:
    raise WorkflowError(str(error))
validate(config, "config.schema.yaml")  # fills in the defaults
perturbations = settings.with_levels(perturbations, config.get("levels", {}))

datasets, models, runs = config["datasets"], config["models"], config.get("runs", {})
compute, seeds = config["compute"], config["seeds"]
asked = settings.asked(config, perturbations)
families = {strip["family"] for strip in asked}
figures = {
    name: figure
    for name, figure in catalogue(f"{HERE}/reports/figures").items()
    if figure["family"] in families
}
gpus = int(compute["device"].startswith("cuda"))  # `auto` takes what is there, without asking a scheduler
asked_models = sorted({strip["model"] for strip in asked})
asked_runs = sorted({models[name]["run"] for name in asked_models if "run" in models[name]})
asked_folders = sorted({strip["dataset"] for strip in asked} | {runs[run]["data"] for run in asked_runs})


wildcard_constraints:
    dataset="|".join(datasets),
    model="|".join(models),
    run="|".join(runs) or "none",
    perturbation="[a-z0-9_]+",
    variant="[a-z0-9_]+",
    figure="[a-z0-9_]+",
    epoch=r"\d+",


# ---- Paths ----


def here(path):
    """A file of the workflow, as an input."""
    return os.path.normpath(f"{HERE}/{path}")


def paths(pattern, strips=asked):
    """The files of a pattern over the strips, each once."""
    return list(dict.fromkeys(pattern.format(**strip) for strip in strips))


STRIP = "results/predictions/{dataset}/{model}/{perturbation}/{variant}.parquet"
SHEET = "results/sheets/{dataset}/{perturbation}/{variant}.webp"


sheets = {SHEET.format(**strip): strip for strip in asked}


def weights(name):
    """Trained here if the model names a run, fetched otherwise."""
    run = models[name].get("run")
    return (
        f"results/weights/trained/{run}.safetensors" if run else f"results/weights/fetched/{name}.safetensors"
    )


def checkpoints(run):
    """The checkpoints of a run, one at the end of each stage."""
    epochs, stage = runs[run]["epochs"], runs[run]["stage"]
    return [f"results/checkpoints/{run}/{epoch}.pt" for epoch in [*range(stage, epochs, stage), epochs]]


def everything():
    """Every file of every rule that the studies need, by name: what a failed rerun has lost is made again
    only if it is asked for."""
    return [
        *(image_folder(dataset) for dataset in asked_folders),
        *paths("results/images/{dataset}.npy"),
        *(checkpoint for run in asked_runs for checkpoint in checkpoints(run)),
        *(weights(model) for model in asked_models),
        *paths(STRIP),
        *sheets,
        *(f"results/figures/{figure}.json" for figure in figures),
    ]


def previous(wildcards):
    """The checkpoint that a stage goes on from; the first goes on from nothing."""
    chain = checkpoints(wildcards.run)
    position = chain.index(f"results/checkpoints/{wildcards.run}/{wildcards.epoch}.pt")
    return chain[:position][-1:]


def image_folder(dataset):
    """A folder of images per class: the user's, or one that is drawn here."""
    entry = datasets[dataset]
    return f"results/folders/{dataset}/images" if "draw" in entry else entry["root"]


def image_columns(dataset):
    """A CSV with further columns of the index, if there is one."""
    entry = datasets[dataset]
    return f"results/folders/{dataset}/index.csv" if "draw" in entry else entry.get("columns", [])


def sheet_facts(strip):
    """What the caption of a sheet tells."""
    axis = perturbations["{perturbation}/{variant}".format(**strip)]["axis"]
    return {key: strip[key] for key in ("dataset", "perturbation", "variant", "levels")} | {"axis": axis}


def strip_cells(name):
    """The cells of the strip of a perturbation/variant: (level, seed)."""
    return cells(perturbations[name], perturbations[name]["levels"], seeds)
