"""Stylizers and stylized datasets: where they are and what decides them. No rules here."""

STYLIZER = "results/stylizers/{stylizer}.safetensors"
STYLIZED = "results/sheets/{dataset}.webp"

stylized_sheets = [STYLIZED.format(dataset=dataset) for dataset in asked_stylized]


def stylizer_of(where):
    """The stylizer of the stylized dataset that wildcards stand for."""
    return stylizers[datasets[where.dataset]["stylizer"]]


def trained_on(stylizer, key):
    """The dataset that a stylizer takes its contents or styles from; none if its decoder is a file."""
    entry = stylizers[stylizer]
    return [] if "decoder" in entry else [entry[key]]


def folders_of(contents, styles):
    """The image folders of two datasets and the lists of what is taken of them, as inputs of a rule. What is in
    folders is in `origin`; their times say nothing."""
    given = {}
    for key, dataset in {"contents": contents, "styles": styles}.items():
        given |= {key: ancient(image_folder(dataset)), f"{key}_list": image_list(dataset)}
    return given


def training_folders(where):
    """What a stylizer is trained on."""
    entry = stylizers[where.stylizer]
    return {} if "decoder" in entry else folders_of(entry["content"], entry["styles"])


def stylized_folders(where):
    """What a stylized dataset is made from."""
    return folders_of(datasets[where.dataset]["stylize"], datasets[where.dataset]["styles"])


def stylized_images(dataset):
    """How many images of its contents a stylized dataset takes; None for all."""
    entry = datasets[dataset]
    return entry.get("images", datasets[entry["stylize"]].get("images"))


def stylized_store(dataset):
    """Where shards leave their images: only what is made of the same things is ever put together."""
    return f"results/stylized/{folder_origin(dataset)}"


def shards(dataset):
    """A list of what it made by each job that stylizes a part of a dataset."""
    count = datasets[dataset]["shards"]
    return [f"results/shards/{dataset}/{shard}-{count}.txt" for shard in range(count)]


@cache
def styles_origin(dataset):
    """Of images that styles are taken from: they may lie in a folder without classes."""
    if not entries.is_own(datasets[dataset]):
        return folder_origin(dataset)
    try:
        return digest(folders.below(datasets[dataset]["root"], image_list(dataset)))
    except (ValueError, OSError) as error:
        raise WorkflowError(f"datasets.{dataset}.root: {error}")


@cache
def stylizer_origin(stylizer):
    entry = stylizers[stylizer]
    made_from = [folder_origin(dataset) for dataset in trained_on(stylizer, "content")]
    made_from += [datasets[dataset].get("images") for dataset in trained_on(stylizer, "content")]
    made_from += [styles_origin(dataset) for dataset in trained_on(stylizer, "styles")]
    made_from += [file_stamp(entry.get("decoder", "")), weights_origin(entry["encoder"])]
    return digest([stylizer, entry, made_from, config["pixels"], program("train_stylizer.py")])


def stylized_origin(dataset):
    entry = datasets[dataset]
    made_from = [folder_origin(entry["stylize"]), styles_origin(entry["styles"])]
    made_from += [stylized_images(dataset), stylizer_origin(entry["stylizer"])]
    return digest([dataset, facts(entry), made_from, config["pixels"], program("stylize_images.py")])


def stylized_facts():
    """The datasets that are stylized from others."""
    return [
        {"dataset": name, "content": datasets[name]["stylize"], "stylizer": datasets[name]["stylizer"]}
        for name in stylized
    ]
