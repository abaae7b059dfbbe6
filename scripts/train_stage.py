"""Some epochs of a run, to a checkpoint."""

from patchwork import jobs

jobs.start(snakemake)
jobs.start_processes(snakemake)

from functools import partial

from patchwork import models, packed, training

given, params = snakemake.input, snakemake.params
training.train_stage(
    *(snakemake.output[0], int(snakemake.wildcards.epoch), params.origin, params.store),
    *(given.resume[0] if given.resume else None, snakemake.threads),
    *(params.model, given.folder, snakemake.wildcards.run, params.run),
    compute=params.compute,
    classes=given.get("classes"),
    images=params.data.get("images"),
    listed=given.get("listed"),
    held_out=given.get("held_out") and packed.Packed(given.held_out, given.held_out_index),
    teacher=given.get("teacher") and partial(models.build, params.helpers["teacher"], given.teacher),
    initial=given.get("initial") and (models.load(given.initial)[0], given.initial),
)
