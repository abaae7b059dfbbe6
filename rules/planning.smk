"""What is told before any job runs, not by the first job that stumbles over it. No rules here."""

from collections import Counter
from itertools import combinations, product

from patchwork import files, protocols


def missing_files():
    """The files and folders that config entries name and that are not there, a line each."""
    for kind, names, keys in [
        ("datasets", asked_folders, ["classes", "columns", "list"]),
        ("models", asked_models, ["weights"]),
        ("stylizers", asked_stylizers, ["decoder"]),
    ]:
        for name, key in product(names, keys):
            file = config[kind][name].get(key, "")
            if file not in ("", "random") and not is_url(file) and not os.path.isfile(file):
                yield f"{kind}.{name}.{key}: there is no file {file}"
    for name in (name for name in asked_folders if "fetch" in datasets[name]):
        if lacking := sources.lacking(datasets[name]):
            yield f"datasets.{name}.root: {lacking}"
    for name in asked_folders:
        if (file := categories_file(name)) and not os.path.isfile(file):
            known = ", ".join(sorted(path.stem for path in Path(HERE, "rules/categories").glob("*.csv")))
            yield f"datasets.{name}.categories: there is no file {file}; the workflow itself has {known}"
    for name, folder in decision_folders.items():
        if not decision_files[name]:
            yield f"datasets.{name}.decisions: there is no folder {folder} with CSV files"
    if "reuse" in config and not Path(config["reuse"], ".snakemake/metadata").is_dir():
        yield f"reuse: no run of Patchwork was in a folder {config['reuse']}; name the one that holds its results/"
    for strip in needing("imagenet_c"):
        needed = [place for folder in severity_folders(strip) for place in (folder.parents[1], folder)]
        for lost in [place for place in needed if not place.is_dir()][:1]:
            yield f"datasets.{strip['dataset']}.imagenet_c: there is no folder {lost}"


def shared_images():
    """The datasets that hold images which they must not share with another one, a line each."""
    crafted = product(crafting, sorted({attack["dataset"] for attack in attacks}))
    pairs = [("patches.data", *pair, "craft patches on images that are not evaluated") for pair in crafted]
    for transfer in dict.fromkeys(each["transfer"] for each in asked_transfers):
        parts = combinations(transfer_datasets(transfer).values(), 2)
        pairs += [(f"transfers.{transfer}", *pair, "its parts must not share images") for pair in parts]
    for where, data, dataset, advice in pairs:
        first, second = datasets[data], datasets[dataset]
        if image := settings.shared_image(first, second, listing):
            yield f"{where}: {data} holds {image}, which is also in {dataset}: {advice}"


def class_sizes(dataset):
    """How many images each class of the user's folder has; nothing is known yet of others."""
    entry = datasets[dataset]
    if not entries.is_own(entry):
        return {}
    return Counter(label for label, _ in listing(entry["root"], entry.get("images"), entry.get("list")))


def lacking_classes():
    """The transfers and few_shots whose datasets have too few classes, or images of them, a line each."""
    for transfer in dict.fromkeys(each["transfer"] for each in asked_transfers):
        sizes = {part: class_sizes(dataset) for part, dataset in transfer_datasets(transfer).items()}
        for one, other in combinations([part for part in sizes if sizes[part]], 2):
            if differ := sorted(sizes[one].keys() ^ sizes[other].keys()):
                yield (
                    f"transfers.{transfer}: the class {differ[0]!r} ({len(differ)} such) is in one of {one} and "
                    f"{other} only: all parts must have the same classes"
                )
    for few_shot in dict.fromkeys(each["few_shot"] for each in asked_few_shots):
        sizes = class_sizes(few_shots[few_shot]["data"])
        if sizes and (problem := protocols.episode_problem(sizes, few_shots[few_shot])):
            yield f"few_shots.{few_shot}: {problem}"


onstart:  # the only one: Snakemake keeps the last that it reads
    try:
        files.check_writable("results")
    except ValueError as error:
        raise WorkflowError(str(error))
    if workflow.executor_plugin.name == "slurm":
        refuse_beside_others()


# To these targets it does not matter what is missing; as those of a module they have a prefix.
indifferent = any(word.endswith(("check_data", "fetch_all")) for word in sys.argv)

if workflow.is_main_process and not indifferent:
    if wrong := dict.fromkeys(missing_files()):
        raise WorkflowError("\n".join(wrong))
    # What has masks may be without class folders, if nothing else is asked of it.
    masked = {each["dataset"] for each in asked_measures if reads_masks(each["measure"])}
    for dataset in asked_folders:
        (masks_origin if dataset in masked else folder_origin)(dataset)
    for dataset in asked_styles:
        styles_origin(dataset)
    if wrong := dict.fromkeys([*shared_images(), *lacking_classes()]):
        raise WorkflowError("\n".join(wrong))
