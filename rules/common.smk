"""What exists and what the studies ask for. No rules here."""

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

try:
    perturbations = variants(
        catalogue(f"{HERE}/scripts/patchwork/perturbations"), list(config.get("models", {}))
    )
    settings.check(
        config,
        yaml.safe_load(Path(HERE, "rules/config.schema.yaml").read_text()),
        CONFIG_FILES,
        perturbations,
    )
except ValueError as error:
    raise WorkflowError(str(error))
validate(config, "config.schema.yaml")  # fills in the defaults
perturbations = settings.with_chosen(perturbations, config.get("levels", {}), config.get("settings", {}))

datasets, models, runs = config["datasets"], config["models"], config.get("runs", {})
stylizers, stylized = config["stylizers"], [name for name, entry in datasets.items() if "stylize" in entry]
for entry in map(datasets.get, stylized):
    entry.update({"alpha": 1, "shards": 1, **settings.inherited(entry, datasets)} | entry)
compute, seeds = config["compute"], [int(seed) for seed in config["seeds"]]  # 1.0 is a whole number to YAML
asked = settings.asked(config, perturbations)
families = {strip["family"] for strip in asked}
figures = {
    name: figure
    for name, figure in sorted(
        catalogue(f"{HERE}/reports/figures").items(), key=lambda item: item[1].get("order", 99)
    )
    if figure.get("family", "all") in families | {"all"}
}
gpus = int(compute["device"].startswith("cuda"))  # `auto` takes what is there, without asking a scheduler
reference = config.get("reference", next(name for name in models if any(s["model"] == name for s in asked)))


def perturbation(where):
    """The entry of the catalogue that wildcards, or a strip, stand for."""
    name = "{perturbation}/{variant}".format(**where)
    if name not in perturbations:
        raise WorkflowError(settings.unknown(name, perturbations))
    return perturbations[name]


def figure(name):
    """A figure that the studies ask for."""
    if name not in figures:
        raise WorkflowError(f"among the figures that the studies ask for, {settings.unknown(name, figures)}")
    return figures[name]


def needing(need):
    """The strips whose perturbation lists `need` in its NEEDS."""
    return [strip for strip in asked if need in perturbation(strip).get("needs", [])]


attacks, salient = needing("patches"), needing("saliency")
crafting = [config["patches"]["data"]] if attacks else []
needed = settings.needed(
    config,
    [
        *(("datasets", name) for name in [*(strip["dataset"] for strip in asked), *crafting]),
        *(("models", name) for name in [*(strip["model"] for strip in asked)]),
        *(("models", attack["variant"]) for attack in attacks),
        *(("models", config["saliency"]["model"]) for _ in salient),
    ],
)
asked_folders, asked_styles, asked_stylizers, asked_models, asked_runs = (
    sorted(name for kind, name in needed if kind == wanted)
    for wanted in ("datasets", "styles", "stylizers", "models", "runs")
)
asked_stylized = [name for name in asked_folders if name in stylized]


wildcard_constraints:
    dataset="|".join(datasets),
    model="|".join(models),
    run="|".join(runs) or "none",
    stylizer="|".join(stylizers) or "none",
    shard=r"\d+",
    shards=r"\d+",
    perturbation="[a-z0-9_]+",
    variant="[a-z0-9_]+",
    figure="[a-z0-9_]+",
    epoch=r"\d+",


def saliency_model():
    """The model whose attention tells what is salient."""
    if "saliency" not in config:
        raise WorkflowError(f"config: {settings.NO_SALIENCY}")
    return config["saliency"]["model"]


def strip_cells(where):
    """The cells of a strip: (level, seed). Files of ImageNet-C are the same for every seed."""
    published = "imagenet_c" in needs(where)
    return cells(perturbation(where), perturbation(where)["levels"], seeds[:1] if published else seeds)
