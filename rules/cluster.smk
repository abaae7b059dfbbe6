"""What jobs ask of a cluster, and what is looked at before the first is submitted. No rules here."""

from patchwork import queue


def growing(first):
    """Memory or time of a job; each further attempt asks for as much again."""
    return lambda wildcards, attempt: first * attempt


def refuse_beside_others():
    """Stop while jobs of a Snakemake that was killed still write the files of this folder."""
    try:
        left = queue.runs(workflow.workdir_init)
    except ValueError as error:
        raise WorkflowError(str(error))
    if left:
        commands = "; ".join(f"scancel --name {run}" for run in left)
        raise WorkflowError(f"jobs of an earlier run are in the queue and write files here: {commands}")
