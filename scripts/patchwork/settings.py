"""The config, checked before anything runs: every mistake is named with its line and what would be right."""

import math
import os
import re
from itertools import product
from pathlib import Path

import jsonschema
import yaml

from patchwork import entries, folders, sources
from patchwork.catalogue import pick, suggest, unknown
from patchwork.urls import UNKNOWN, hash_in_name, is_safe, is_url

NO_PATCHES = "adversarial patches need images to be crafted on: add `patches: {data: DATASET}`"
NO_SALIENCY = "what is salient is told by the attention of a model; add `saliency: {model: NAME}`"
GRID = re.compile(r"[1-9]\d*x[1-9]\d*")
NUMBER_AS_TEXT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


class Lines:
    """Where in the config files a key stands; a later file wins, as in Snakemake."""

    def __init__(self, paths):
        self.lines, self.twice = {}, []
        for path in paths:
            node = yaml.compose(Path(path).read_text(encoding="utf-8"))
            if node is not None:
                self.visit(node, (), path)

    def visit(self, node, keys, path):
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                where = f"{path}, line {key.start_mark.line + 1}"
                if key.value in seen:
                    self.twice.append(f"{where}: {key.value!r} stands here a second time; keep one")
                seen.add(key.value)
                self.lines[(*keys, key.value)] = where
                self.visit(value, (*keys, key.value), path)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self.lines[(*keys, str(position))] = f"{path}, line {value.start_mark.line + 1}"
                self.visit(value, (*keys, str(position)), path)

    def of(self, keys):
        """The place of a key, or of the nearest key above it, followed by the key itself."""
        keys = tuple(map(str, keys))
        places = (self.lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self.lines)
        return f"{next(places, 'config')}: {'.'.join(keys)}".rstrip(": ")


def take_away(config):
    """Leave out the studies that are null, in place: one config file may take away what another names."""
    if isinstance(studies := config.get("studies"), dict):
        config["studies"] = {name: study for name, study in studies.items() if study is not None}


def check(config, schema, files, perturbations, measures, recipes):
    """Raise ValueError listing all that is wrong with a config, a line each.

    config: as Snakemake merged it. schema: a JSON Schema (dict). files: the config files, for the lines.
    perturbations: catalogue of what can be asked, by name/variant; measures: the same, by name. recipes:
    those that need not be in the config.
    """
    lines = Lines(files)
    problems = [*lines.twice, *odd_keys(config, lines)]
    problems = problems or shape_problems(config, schema, lines)
    if not problems:  # names can only be looked up in a config of the right shape
        problems = name_problems(config, lines, perturbations, measures, recipes)
    if problems:
        raise ValueError("\n".join(problems))


def odd_keys(value, lines, keys=()):
    """Keys that YAML takes for a number, a date or yes and no."""
    for key, below in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str):
            yield f"{lines.of([*keys, key])}: a name must be text; write it in quotes"
        else:
            yield from odd_keys(below, lines, [*keys, key])


def shape_problems(config, schema, lines):
    """Unknown and missing keys, wrong types, values out of range."""
    problems = []
    for error in jsonschema.Draft202012Validator(schema).iter_errors(config):
        keys = list(error.absolute_path)
        rule = error.schema if isinstance(error.schema, dict) else {}
        if error.validator == "additionalProperties":
            known = rule.get("properties", {})
            there = ", ".join(known)
            problems += [
                f"{lines.of([*keys, key])} is no key of Patchwork{suggest(key, known)}; there are {there}"
                for key in error.instance
                if key not in known
            ]
        else:
            hint = rule.get("description", "")
            if NUMBER_AS_TEXT.fullmatch(str(error.instance)) and isinstance(error.instance, str):
                hint += "; YAML reads 1e-3 as text, write 1.0e-3"
            problems.append(
                f"{lines.of(keys)}: {error.message}" + (f" ({hint.lstrip('; ')})" if hint else "")
            )
    return problems


def name_problems(config, lines, perturbations, measures, recipes):
    """Names that stand for nothing, levels out of range, entries that contradict themselves."""
    datasets, models, runs = config["datasets"], config["models"], config.get("runs", {})
    crafted_on = config.get("patches", {}).get("data")
    problems = []

    def look_up(keys, wanted, entries):
        try:
            return pick(wanted, entries)
        except ValueError as error:
            problems.append(f"{lines.of(keys)}: {error}")
            return []

    asked_models, deciding, studied = set(), set(), set()
    for name, study in config["studies"].items():
        evaluated_on = look_up(["studies", name, "datasets"], study.get("datasets", []), datasets)
        looked_at = look_up(["studies", name, "models"], study["models"], models)
        studied |= set(looked_at)
        measured = look_up(["studies", name, "measures"], study.get("measures", []), measures)
        for kind in ("transfers", "few_shots"):
            look_up(["studies", name, kind], study.get(kind, []), config.get(kind, {}))
        for each in [each for each in measured if "masks" in measures[each].get("needs", [])]:
            for dataset in [known for known in evaluated_on if not has_masks(datasets[known], datasets)]:
                problems.append(
                    f"{lines.of(['studies', name, 'datasets'])}: {each} compares with true masks, and "
                    f"{dataset} has none: give it `masks: FOLDER`, or a column `mask` in its `columns`"
                )
        if any("labels" in measures[each].get("needs", []) for each in measured):
            deciding |= set(looked_at)
        if "perturbations" not in study:
            continue
        asked_models |= set(looked_at)
        chosen = look_up(["studies", name, "perturbations"], study["perturbations"], perturbations)
        crop = config["pixels"]["crop"]
        for each in chosen:
            grid = re.match(r"(\d+)x(\d+)", each.split("/")[1])
            if grid and max(map(int, grid.groups())) > crop:
                where = lines.of(["studies", name, "perturbations"])
                problems.append(f"{where}: {each} has more tiles along a side than pixels.crop: {crop}")
        needs = {need for each in chosen for need in perturbations[each].get("needs", [])}
        if "patches" in needs:
            if crafted_on is None:
                problems.append(f"{lines.of(['studies', name, 'perturbations'])}: {NO_PATCHES}")
            if crafted_on in evaluated_on:
                problems.append(
                    f"{lines.of(['studies', name, 'datasets'])}: patches are crafted on {crafted_on} and "
                    "cannot be evaluated on it, too: choose another patches.data"
                )
        if "saliency" in needs and "saliency" not in config:
            problems.append(f"{lines.of(['studies', name, 'perturbations'])}: {NO_SALIENCY}")
    for name, entry in models.items():
        where = ["models", name]
        if "run" in entry and entry["run"] not in runs:
            problems.append(f"{lines.of([*where, 'run'])}: {unknown(entry['run'], runs)}")
        if "run" in entry and "weights" in entry:
            problems.append(f"{lines.of(where)} has `run` and `weights`: its weights come from one of them")
        if entry.get("weights") == "random" and "sha256" in entry:
            problems.append(f"{lines.of([*where, 'sha256'])} is of a file, but its weights are random")
    stylizers = config.get("stylizers", {})
    of_files = [(["models", name], entry, "weights") for name, entry in models.items()]
    of_files += [(["stylizers", name], entry, "decoder") for name, entry in stylizers.items()]
    for where, entry, key in of_files:
        url = entry.get(key, "")
        if is_url(url) and "sha256" not in entry and not (hash_in_name(url) and is_safe(url)):
            problems.append(
                f"{lines.of([*where, key])} is a URL: give its `sha256`, so that it can be checked (of https "
                "a name like resnet50-0676ba61.pth tells the first digits itself), or `sha256: unknown`"
            )
        if entry.get("sha256") == UNKNOWN and not (is_url(url) and is_safe(url)):
            problems.append(f"{lines.of([*where, 'sha256'])} can be unknown only of a URL of https")
    known_recipes = recipes | config.get("recipes", {})
    found = [*entries.run_problems(config, known_recipes), *entries.stylizing_problems(config)]
    found += [*entries.fetch_problems(config), *entries.label_problems(config)]
    found += entries.transfer_problems(config)
    problems += [f"{lines.of(keys)}: {problem}" for keys, problem in found]
    for name in sorted(asked_models | deciding):
        run = runs.get(models[name].get("run"), {})
        if "dino" in entries.resolve(run, known_recipes):
            problems.append(
                f"{lines.of(['models', name])}: has learnt without labels and decides nothing: name it under "
                "`saliency`, not in a study of perturbations or of a measure of its decisions"
            )
    if "reference" in config and config["reference"] not in studied:
        among = unknown(config["reference"], studied)
        problems.append(f"{lines.of(['reference'])}: among the models of the studies, {among}")
    if crafted_on not in {*datasets, None}:
        problems.append(f"{lines.of(['patches', 'data'])}: {unknown(crafted_on, datasets)}")
    if config["pixels"]["crop"] > config["pixels"]["resize"]:
        problems.append(
            f"{lines.of(['pixels', 'crop'])} is larger than pixels.resize, so nothing could be cropped"
        )
    for name, entry in datasets.items():
        if entry.get("resize", config["pixels"]["crop"]) < config["pixels"]["crop"]:
            where = lines.of(["datasets", name, "resize"])
            problems.append(f"{where} is less than pixels.crop, so nothing could be cropped")
    problems += [f"{lines.of(keys)}: {problem}" for keys, problem in saliency_problems(config)]
    if not problems:
        problems += [f"{lines.of(keys)}: {problem}" for keys, problem in entries.circles(config)]
    named = {alias: entry for name, entry in perturbations.items() for alias in (name, name.split("/")[0])}
    settable = named | measures
    for name, chosen in config.get("settings", {}).items():
        found = setting_problems(chosen, settable[name]) if name in settable else [unknown(name, settable)]
        problems += [f"{lines.of(['settings', name])}: {problem}" for problem in found]
    for name, levels in config.get("levels", {}).items():
        found = level_problems(levels, named[name]) if name in named else [unknown(name, named)]
        problems += [f"{lines.of(['levels', name])}: {problem}" for problem in found]
    return problems


def has_masks(entry, datasets):
    """Whether a dataset has true masks, as far as the config tells; a stylized one has those of its contents,
    if their columns name them."""
    if "masks" in entry:
        return True
    for _ in datasets:  # not for ever, if it is made from itself
        entry = datasets.get(entry.get("stylize"), entry)
    return "columns" in entry or entry.get("draw", "painting") != "painting"


def saliency_problems(config):
    """What is wrong with the map of saliency, as (keys, problem)."""
    if "saliency" in config:
        model, grid = config["saliency"]["model"], config["saliency"].get("grid", "1x1")
        if model not in config["models"]:
            yield ["saliency", "model"], unknown(model, config["models"])
        for position, other in enumerate(config["saliency"].get("beside", [])):
            if other not in config["models"]:
                yield ["saliency", "beside", position], unknown(other, config["models"])
            if other == model:
                yield ["saliency", "beside", position], f"{other} is saliency.model; name others beside it"
        if max(map(int, grid.split("x"))) > config["pixels"]["crop"]:
            yield ["saliency", "grid"], f"{grid} has more tiles along a side than pixels.crop has pixels"


def level_problems(levels, perturbation):
    """What is wrong with the levels asked of a perturbation."""
    clean = perturbation["levels"][0]
    if levels[0] != clean:
        yield f"the first level must be {clean}, the untouched image"
    if len(set(levels)) < len(levels):
        yield "a level stands there twice"
    for level in levels:
        if "range" in perturbation:
            low, high = perturbation["range"]
            if not low <= level <= high:
                yield f"level {level} is outside {low} to {high} ({perturbation['axis']})"
        elif level not in perturbation["levels"]:
            known = ", ".join(map(str, perturbation["levels"]))
            yield f"level {level} is none of {known} ({perturbation['axis']})"


def setting_problems(chosen, entry):
    """What is wrong with the settings asked of a perturbation or a measure."""
    own = entry.get("settings", {})
    for name, value in chosen.items():
        if name not in own:
            yield f"{name} is no setting{suggest(name, own)}; there are {', '.join(own) or 'none'}"
        elif isinstance(own[name], str):
            if not GRID.fullmatch(str(value)):
                yield f"{name} must be rows x columns of tiles, like its default {own[name]}"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            yield f"{name} must be a number above 0, like its default {own[name]}"
        elif isinstance(own[name], int) and not isinstance(value, int):
            yield f"{name} must be a whole number, like its default {own[name]}"


def with_chosen(perturbations, levels, settings):
    """The catalogue of perturbations with the levels and settings that a config chooses, by name or
    name/variant."""

    def chosen(name, choices, default):
        return choices.get(name, choices.get(name.split("/")[0], default))

    return {
        name: entry
        | {"levels": chosen(name, levels, entry["levels"])}
        | ({"settings": entry["settings"] | chosen(name, settings, {})} if "settings" in entry else {})
        for name, entry in perturbations.items()
    }


def asked(config, perturbations):
    """The strips that the studies ask for, each once: dicts of dataset, model, perturbation, variant, family
    (of the perturbation), model_family and levels. Where variants are models, a study means those that it
    evaluates, unless it names a variant."""
    chosen = {}
    for study in config["studies"].values():
        evaluated, named = pick(study["models"], config["models"]), study.get("perturbations", [])
        for axes in product(
            pick(study.get("datasets", []), config["datasets"]),
            evaluated,
            pick(named, perturbations),
        ):
            dataset, model, name = axes
            perturbation, variant = name.split("/")
            other = perturbations[name].get("variants") == "models" and variant not in evaluated
            if other and name not in ([named] if isinstance(named, str) else named):
                continue
            chosen[axes] = {
                "dataset": dataset,
                "model": model,
                "perturbation": perturbation,
                "variant": variant,
                "family": perturbations[name]["family"],
                "model_family": config["models"][model]["family"],
                "levels": perturbations[name]["levels"],
            }
    return [chosen[axes] for axes in sorted(chosen)]


def asked_measures(config, measures):
    """The measures that the studies ask for, each once: dicts of dataset, model, measure and model_family."""
    chosen = set()
    for study in config["studies"].values():
        chosen |= {
            *product(
                pick(study.get("datasets", []), config["datasets"]),
                pick(study["models"], config["models"]),
                pick(study.get("measures", []), measures),
            )
        }
    return [
        {
            "dataset": dataset,
            "model": model,
            "measure": measure,
            "model_family": config["models"][model]["family"],
        }
        for dataset, model, measure in sorted(chosen)
    ]


def asked_readouts(config, kind):
    """The transfers, or few_shots, that the studies ask for, each once: dicts of transfer or few_shot, model
    and model_family."""
    chosen = set()
    for study in config["studies"].values():
        named = pick(study.get(kind, []), config.get(kind, {}))
        chosen |= {*product(named, pick(study["models"], config["models"]))}
    return [
        {kind.removesuffix("s"): name, "model": model, "model_family": config["models"][model]["family"]}
        for name, model in sorted(chosen)
    ]


def shared_image(first, second, listing=folders.listing):
    """An image that two datasets share, or None: its path in folders {root, images, list}, whatever links
    lead there; of two that are fetched, what the config tells, in words. Others are made apart.

    listing: what lists the images of a folder.
    """
    if "fetch" in first and "fetch" in second:
        return sources.shared(first, second)
    if not entries.is_own(first) or not entries.is_own(second):
        return None

    def chosen(entry):
        for _, path in listing(entry["root"], entry.get("images"), entry.get("list")):
            status = os.stat(f"{entry['root']}/{path}")
            yield (status.st_dev, status.st_ino), path

    known = {file for file, _ in chosen(second)}
    return next((path for file, path in chosen(first) if file in known), None)
