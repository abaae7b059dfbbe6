"""What exists and what the studies ask for. No rules here."""

import os
import sys
from pathlib import Path

import yaml
from snakemake.utils import validate

# Relative, so that results may move together with the workflow without being made again.
HERE = os.path.relpath(Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parent)
if not os.path.isdir(f"{HERE}/scripts"):
    raise WorkflowError("Patchwork cannot run from a URL: clone it, and name the Snakefile of the clone")
sys.path.insert(0, f"{HERE}/scripts")

from patchwork import entries, settings, sources
from patchwork.catalogue import catalogue, cells, variants
from patchwork.urls import UNKNOWN, is_url

RECIPES = yaml.safe_load(Path(HERE, "rules/recipes.yaml").read_text())

settings.take_away(config)

try:
    perturbations = variants(
        catalogue(f"{HERE}/scripts/patchwork/perturbations"), list(config.get("models", {}))
    )
    measures = catalogue(f"{HERE}/scripts/patchwork/measures")
    schema = yaml.safe_load(Path(HERE, "rules/config.schema.yaml").read_text())
    settings.check(config, schema, workflow.configfiles, perturbations, measures, RECIPES)
except ValueError as error:
    raise WorkflowError(str(error))
validate(config, "config.schema.yaml")  # fills in the defaults
perturbations = settings.with_chosen(perturbations, config.get("levels", {}), config.get("settings", {}))

datasets, models = config["datasets"], config["models"]
recipes = RECIPES | config.get("recipes", {})
runs = {name: entries.resolve(run, recipes) for name, run in config.get("runs", {}).items()}
stylizers, stylized = config["stylizers"], [name for name, entry in datasets.items() if "stylize" in entry]
for entry in map(datasets.get, stylized):
    entry.update({"alpha": 1, "shards": 1, **entries.inherited(entry, datasets)} | entry)
seeds = [int(seed) for seed in config["seeds"]]  # 1.0 is a whole number to YAML
# How computing is planned is no parameter: it decides nothing.
compute = {k: value for k, value in config["compute"].items() if k not in ("job_minutes", "teraflops")}

# The results that studies ask for, by what asks for them.
STRIP = "results/predictions/{dataset}/{model}/{perturbation}/{variant}.parquet"
MEASURED = "results/measures/{dataset}/{model}/{measure}.parquet"
PROBES = "results/readouts/{transfer}/{model}/probe.parquet"
FEW_SHOTS = "results/readouts/{few_shot}/{model}/few_shot.parquet"
FOREGROUND = "results/foreground/{dataset}/{model}.parquet"
asked = there(STRIP, settings.asked(config, perturbations), "predict")
asked_measures = there(MEASURED, settings.asked_measures(config, measures), "measure")
asked_transfers = there(PROBES, settings.asked_readouts(config, "transfers"), "probe")
asked_few_shots = there(FEW_SHOTS, settings.asked_readouts(config, "few_shots"), "few_shot")
families = (
    {strip["family"] for strip in asked}
    | {kind for kind, those in (("transfer", asked_transfers), ("few_shot", asked_few_shots)) if those}
    | {"training" for strip in asked if "run" in models[strip["model"]]}
    | {each["measure"] for each in asked_measures}
)
figures = sorted(catalogue(f"{HERE}/reports/figures").items(), key=lambda item: item[1].get("order", 99))
asks_for = families | {"all"}
figures = drawable({name: entry for name, entry in figures if entry.get("family", "all") in asks_for})
gpus = int(compute["device"].startswith("cuda"))  # `auto` takes what is there, without asking a scheduler
studied = {each["model"] for each in asked + asked_measures + asked_transfers + asked_few_shots}
if not studied:
    raise WorkflowError("nothing that the config asks for is there yet: run without --config holes=named")
reference = config.get("reference", next(name for name in models if name in studied))


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
# The models whose foregrounds are scored; the first tells the perturbations what is salient.
salient_models = [config["saliency"]["model"], *config["saliency"]["beside"]] if salient else []
scored = [strip | {"model": model} for strip in salient for model in salient_models]
scored = there(FOREGROUND, scored, "score_foreground")
crafting = [config["patches"]["data"]] if attacks else []
needed = entries.needed(
    config,
    [
        *(("models", each["model"]) for each in asked + asked_measures + asked_transfers + asked_few_shots),
        *(("models", attack["variant"]) for attack in attacks),
        *(("models", each["model"]) for each in scored),
        *(("datasets", each["dataset"]) for each in asked + asked_measures),
        *(("datasets", dataset) for dataset in crafting),
        *(("transfers", each["transfer"]) for each in asked_transfers),
        *(("few_shots", each["few_shot"]) for each in asked_few_shots),
    ],
)
asked_folders, asked_styles, asked_stylizers, asked_models, asked_runs = (
    sorted(name for kind, name in needed if kind == wanted)
    for wanted in ("datasets", "styles", "stylizers", "models", "runs")
)
asked_stylized = [name for name in asked_folders if name in stylized]
