"""What a report with holes does without. No rules here.

After a run in which jobs have failed, `--config holes=named` leaves out what is not there, and the report names it.
"""

missing = {}  # what is asked for and not there: {file: the last line that its job has logged}
absent = []  # of this, what studies ask for: dicts of dataset, model and what it is


def last_line(rule, name):
    """The last line that a job, or the last of a chain of jobs, has logged; nothing without a log."""
    logs = [*Path("logs", rule).glob(f"{name}.log"), *Path("logs", rule, name).glob("*.log")]
    told = max(logs, key=os.path.getmtime).read_text(errors="replace").split("\n") if logs else []
    return next((line.strip() for line in reversed(told) if line.strip()), "")


def name_of(file, rule):
    """The name of a result: its path without where all of its kind are."""
    path = Path(file)
    named = path.parent if path.stem == rule else path.with_suffix("")
    return Path(*named.parts[2:])


def there(pattern, asked, rule):
    """Those of what is asked for whose file is there; all of it, if holes are not to be named."""
    if config.get("holes") != "named":
        return asked
    found = []
    for each in asked:
        run, file = models[each["model"]].get("run"), pattern.format(**each)
        if os.path.isfile(file):
            found.append(each)
            continue
        trained = f"results/weights/trained/{run}.safetensors"
        if run and not os.path.isfile(trained):
            missing[trained] = last_line("train_stage", run)
        missing[file] = last_line(rule, name_of(file, rule))
        absent.append({**each, "kind": rule})
    return found


def drawable(figures):
    """Those figures that have not failed to be drawn; all of them, if holes are not to be named."""
    if config.get("holes") != "named":
        return figures
    reasons = {f"results/figures/{name}.json": last_line("draw_figure", name) for name in figures}
    missing.update({file: told for file, told in reasons.items() if told and not os.path.isfile(file)})
    return {name: entry for name, entry in figures.items() if f"results/figures/{name}.json" not in missing}
