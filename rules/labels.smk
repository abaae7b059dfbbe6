"""What tells the labels of images beside their folders, who else has decided them, and what the paper calls models
and datasets. No rules here."""

# How people and other networks decided the images of datasets that are asked for.
decision_folders = {
    name: datasets[name]["decisions"]
    for name in dict.fromkeys(s["dataset"] for s in asked)
    if "decisions" in datasets[name]
}
decision_files = {
    name: sorted(str(path) for path in Path(folder).glob("*.csv"))
    for name, folder in decision_folders.items()
}


def categories_file(dataset):
    """The CSV of the categories of a dataset, one that comes with the workflow or the user's; [] without."""
    told = datasets[dataset].get("categories", [])
    own = here(f"rules/categories/{told}.csv")
    return own if told and os.path.isfile(own) else told


# What the paper calls datasets and models, and the head by which a distilled one decides.
published_as = [
    {"kind": kind, "name": name, "published": entry["published"], "head": entry.get("head")}
    for kind, entries_of_kind in (("dataset", datasets), ("model", models))
    for name, entry in entries_of_kind.items()
    if "published" in entry
]
