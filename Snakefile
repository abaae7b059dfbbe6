"""Intriguing properties of vision transformers, from raw images to a report.

Read rules/ in the order included here: what there is and what is asked (common, paths, sheets, labels, origins,
folders, trainings, stylized, measured, transferred, costs, planning), then what is fetched, data, training, stylizing,
evaluation, measures, transfer, report.
"""

from snakemake.utils import min_version

min_version("9.18")

if not workflow.overwrite_configfiles:  # a job of a cluster is told of a file, not that it replaces this one

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/paths.smk"
include: "rules/sheets.smk"
include: "rules/labels.smk"
include: "rules/origins.smk"
include: "rules/folders.smk"
include: "rules/trainings.smk"
include: "rules/stylized.smk"
include: "rules/measured.smk"
include: "rules/transferred.smk"
include: "rules/costs.smk"
include: "rules/planning.smk"
include: "rules/fetch.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/stylize.smk"
include: "rules/evaluate.smk"
include: "rules/measure.smk"
include: "rules/transfer.smk"
include: "rules/report.smk"


rule all:
    """Everything that the config asks for, ending in results/report.html."""
    default_target: True
    input:
        "results/report.html",
        everything(),
