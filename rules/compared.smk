"""Which two runs are compared. No rules here."""

# They are no settings of this run, and no report tells them.
COMPARED = {key: config.pop(key, None) for key in ("before", "after")}


def warehouse_of(key):
    """The warehouse of a run, by the folder that the config names: its own, or that of its results."""
    folders = [COMPARED[key], f"{COMPARED[key]}/results"]
    found = [
        f"{folder}/warehouse.duckdb" for folder in folders if os.path.isfile(f"{folder}/warehouse.duckdb")
    ]
    if not found:
        raise WorkflowError(
            f"{key}: there is no warehouse.duckdb in {' or '.join(folders)}: name a run that is done"
        )
    return found[0]


def compared(wildcards):
    """The warehouses of the two runs; the one after is this one if no other is named."""
    if not COMPARED["before"]:
        raise WorkflowError("compare_runs: name the run to compare with, --config before=FOLDER")
    after = warehouse_of("after") if COMPARED["after"] else "results/warehouse.duckdb"
    found = {"before": warehouse_of("before"), "after": after}
    if os.path.realpath(found["before"]) == os.path.realpath(after):
        raise WorkflowError(f"before: {COMPARED['before']} is compared with itself: name another run")
    return found
