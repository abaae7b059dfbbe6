"""Intriguing properties of vision transformers, from raw images to a report.

Read rules/ in the order included here: what there is and what is asked (holes, common, cluster, paths, sheets,
labels, origins, fetched, folders, trainings, stylized, measured, transferred, costs, hours, planning, recorded,
cards, compared), then what is looked at and fetched, data, training, stylizing, evaluation, measures, transfer,
report, and two runs compared.
"""

from snakemake.utils import min_version

min_version("9.18")

if not workflow.overwrite_configfiles:  # a job of a cluster is told of a file, not that it replaces this one

    configfile: "config.yaml"


include: "rules/holes.smk"
include: "rules/common.smk"
include: "rules/cluster.smk"
include: "rules/paths.smk"
include: "rules/sheets.smk"
include: "rules/labels.smk"
include: "rules/origins.smk"
include: "rules/fetched.smk"
include: "rules/folders.smk"
include: "rules/trainings.smk"
include: "rules/stylized.smk"
include: "rules/measured.smk"
include: "rules/transferred.smk"
include: "rules/costs.smk"
include: "rules/hours.smk"
include: "rules/planning.smk"
include: "rules/recorded.smk"
include: "rules/cards.smk"
include: "rules/compared.smk"


wildcard_constraints:
    dataset="|".join(datasets),
    model="|".join(models),
    run="|".join(runs) or "none",
    stylizer="|".join(stylizers) or "none",
    shard=r"\d+",
    shards=r"\d+",
    perturbation="[a-z0-9_]+",
    variant="[a-z0-9_]+",
    measure="|".join(measures),
    transfer="|".join(config["transfers"]) or "none",
    few_shot="|".join(config["few_shots"]) or "none",
    figure="[a-z0-9_]+",
    epoch=r"\d+",


include: "rules/check.smk"
include: "rules/fetch.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/stylize.smk"
include: "rules/evaluate.smk"
include: "rules/measure.smk"
include: "rules/transfer.smk"
include: "rules/report.smk"
include: "rules/compare.smk"


rule all:
    """Everything that the config asks for, ending in results/report.html."""
    default_target: True
    input:
        "results/report.html",
        everything(),


rule fetch_all:
    """All that the config needs from a network, told how large before; the rest of the run then needs none."""
    input:
        weighed,
    localrule: True
