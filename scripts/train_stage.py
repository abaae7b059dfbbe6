"""Some epochs of a run, to a checkpoint."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, models, training

params, resume = snakemake.params, snakemake.input.resume
checkpoint = training.train_stage(
    params.model,
    snakemake.input.folder,
    snakemake.wildcards.run,
    params.run,
    int(snakemake.wildcards.epoch),
    classes=snakemake.input.get("classes"),
    images=params.data.get("images"),
    resume=training.load(resume[0]) if resume else None,
    device=models.device(params.compute),
    dtype=params.compute["dtype"],
    workers=snakemake.threads - 1,
)
with files.whole(snakemake.output[0]) as path:
    training.save(path, checkpoint)
