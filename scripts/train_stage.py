"""Some epochs of a run, to a checkpoint."""

from patchwork import jobs

jobs.start(snakemake)
jobs.start_processes(snakemake)

from patchwork import checkpoints, models, packed, training

given, params = snakemake.input, snakemake.params
held_out = given.get("held_out") and packed.Packed(given.held_out, given.held_out_index)
with training.joined_processes(params.compute):
    run = training.Training(
        params.model,
        given.folder,
        snakemake.wildcards.run,
        params.run,
        compute=params.compute,
        classes=given.get("classes"),
        images=params.data.get("images"),
        origin=params.origin,
        held_out=held_out,
        teacher=given.get("teacher") and models.build(params.helpers["teacher"], given.teacher),
        initial=given.get("initial") and (models.load(given.initial)[0], given.initial),
        workers=snakemake.threads - 1,
    )
    keeper = checkpoints.Keeper(params.store)
    resume = keeper.found(params.origin) or (
        checkpoints.load(given.resume[0], params.origin) if given.resume else None
    )
    if resume:
        run.resume(resume)
    run.run(int(snakemake.wildcards.epoch), keeper)
    if training.rank() == 0:
        checkpoints.save(snakemake.output[0], run.checkpoint())
        keeper.done()
