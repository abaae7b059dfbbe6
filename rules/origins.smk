"""What a job depends on beside its inputs. No rules here.

Snakemake forgets that a job has to run again once the job before it has failed on a rerun. So every job
also carries, as a parameter, the digest of all code and config that its inputs are made from.
"""

from functools import cache

from patchwork import folders
from patchwork.provenance import digest, fingerprint


def program(*sources):
    """Changes when the meaning of scripts, or of what they import, changes."""
    return fingerprint(f"{HERE}/scripts", *sources)


def perturbation_program(script, wildcards):
    """The same for a script that runs a perturbation."""
    perturbation(wildcards)  # tells of an unknown one
    return program(script, f"patchwork/perturbations/{wildcards.perturbation}.py")


def facts(entry):
    """A config entry without its family and what the paper calls it, on which no result depends, and without
    what only perturbations, measures that read masks, or the report need, or what `folder_origin` holds."""
    left_out = (
        *("family", "published", "shards", "masks", "list", "void", "decisions", "download", "expects"),
        *NEEDS,
    )
    return {key: entry[key] for key in sorted(entry) if key not in left_out}


def file_stamp(file):
    """Size and time of a local file: another one under the same name may be the older one."""
    return [os.stat(file).st_size, os.stat(file).st_mtime_ns] if os.path.isfile(file) else []


def weights_stamp(model):
    return [file_stamp(file) for file in weights_file(model)]


@cache
def weights_origin(model):
    run = models[model].get("run")
    made = run_origin(run) if run else [model, weights_stamp(model), program("fetch_weights.py")]
    return digest([facts(models[model]), made])


@cache
def saliency_origin(dataset, model):
    decides = [weights_origin(model), saliency()["head"], saliency()["grid"]]
    return digest([images_origin(dataset), decides, compute["dtype"], program("map_saliency.py")])


@cache
def foreground_origin(dataset, model):
    return digest([saliency_origin(dataset, model), program("score_foreground.py")])


@cache
def patches_origin(perturbation, model):
    code = program("craft_patch.py", f"patchwork/perturbations/{perturbation}.py")
    return digest([weights_origin(model), images_origin(config["patches"]["data"]), config["patches"], code])


def imagenet_c_origin(where):
    """The folders and their times; the millions of files in them are taken to stay as they were published."""
    return [[str(f), f.stat().st_mtime_ns] for f in severity_folders(where) if f.is_dir()]


# What decides the files of NEEDS, by wildcards or strip.
NEEDS_ORIGINS = {
    "imagenet_c": imagenet_c_origin,
    "saliency": lambda where: saliency_origin(where["dataset"], saliency()["model"]),
    # Not levels and seeds: each has a patch of its own, which is the same whatever others there are.
    "patches": lambda where: patches_origin(where["perturbation"], where["variant"]),
}


def needs_origin(where):
    """The origin of each of the files that `needs` names."""
    return {need: NEEDS_ORIGINS[need](where) for need in needs(where)}


def strip_origin(where):
    """All that decides the cells of a strip, whichever they are."""
    made_from = [images_origin(where["dataset"]), weights_origin(where["model"]), needs_origin(where)]
    code = program("predict.py", f"patchwork/perturbations/{where['perturbation']}.py")
    return digest([made_from, compute["dtype"], perturbation(where).get("settings", {}), code])


@cache
def report_origin():
    strips = [[strip, strip_cells(strip), strip_origin(strip)] for strip in asked]
    scores = [foreground_origin(strip["dataset"], strip["model"]) for strip in scored]
    sources = [
        *marts,
        "reports/checks.sql",
        *(f"reports/{name}.csv" for name in ("published", "superclasses", "claims", "glossary")),
    ]
    tables = [Path(HERE, source).read_text() for source in sources]
    tables += [Path(path).read_bytes().hex() for paths in decision_files.values() for path in paths]
    measured = [measure_origin(e["dataset"], e["model"], e["measure"]) for e in asked_measures]
    probes = [probe_origin(each["transfer"], each["model"]) for each in asked_transfers]
    episodes = [few_shot_origin(each["few_shot"], each["model"]) for each in asked_few_shots]
    trainings = [run_origin(run) for run in asked_runs]
    made = [strips, scores, measured, probes, episodes, trainings, published_as]
    return digest([*made, program("build_warehouse.py"), tables])
