"""Image folders: where they are, what is taken of them and what decides it. No rules here."""


def image_folder(dataset):
    """A folder of images per class: the user's, or one that is fetched, drawn or stylized here."""
    entry = datasets[dataset]
    return entry["root"] if entries.is_own(entry) else f"results/folders/{dataset}/images"


def image_columns(dataset):
    """A CSV with further columns of the index, if there is one."""
    entry = datasets[dataset]
    return entry.get("columns", []) if entries.is_own(entry) else f"results/folders/{dataset}/index.csv"


def image_list(dataset):
    """The text file that names what is taken of the user's folder, if that is not all of it."""
    return datasets[dataset].get("list", []) if entries.is_own(datasets[dataset]) else []


def asked_severities():
    """The folders of ImageNet-C that are asked for: {dataset: [folder]}."""
    found = {}
    for strip in needing("imagenet_c"):
        found.setdefault(strip["dataset"], set()).update(map(str, severity_folders(strip)))
    return {dataset: sorted(those) for dataset, those in found.items()}


def pixels_of(dataset):
    """How images of a dataset are resized and cropped before models see them."""
    usual = config["pixels"]
    return usual | {"resize": datasets[dataset].get("resize", usual["resize"])}


@cache
def walked(root, listed):
    """The images of the user's folder: read once, as there may be millions."""
    return folders.listing(root, listed=listed)


def listing(root, images=None, listed=None):
    """What folders.listing tells."""
    return folders.thinned(walked(root, listed), images)


@cache
def listing_origin(root, listed, told):
    return digest([walked(root, listed), told])


@cache
def folder_origin(dataset):
    entry = datasets[dataset]
    if "draw" in entry:
        return digest([dataset, facts(entry), program("draw_images.py")])
    if "stylize" in entry:
        return stylized_origin(dataset)
    lists = [entry.get("classes", ""), entry.get("columns", ""), categories_file(dataset) or ""]
    lists += [entry["list"]] if "fetch" in entry and "list" in entry else []
    told = [Path(file).read_bytes().hex() for file in lists if os.path.isfile(file)]
    if "fetch" in entry:  # the files in its root are taken to stay as they were published
        return digest([dataset, facts(entry), told, program("fetch_images.py")])
    try:
        return listing_origin(entry["root"], entry.get("list"), tuple(told))
    except (ValueError, OSError) as error:
        raise WorkflowError(f"datasets.{dataset}.root: {error}")


@cache
def images_origin(dataset):
    return digest(
        [folder_origin(dataset), facts(datasets[dataset]), pixels_of(dataset), program("pack_images.py")]
    )
