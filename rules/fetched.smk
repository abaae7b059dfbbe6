"""What comes from the network, and what of it is not there yet. No rules here."""

DECODER = "results/decoders/{stylizer}.safetensors"


def decoder_file(stylizer):
    """The file of a stylizer's decoder, the user's or one that is fetched; none if it is trained here."""
    told = stylizers[stylizer].get("decoder", [])
    return DECODER.format(stylizer=stylizer) if told and is_url(told) else told


# What models, stylizers and datasets that are asked for have to be fetched, and the file that tells that they were.
fetched = (
    {
        ("models", name): weights(name)
        for name in asked_models
        if "run" not in models[name] and is_url(models[name].get("weights", "https://"))
    }
    | {
        ("stylizers", name): decoder_file(name)
        for name in asked_stylizers
        if is_url(stylizers[name].get("decoder", ""))
    }
    | {
        ("datasets", name): f"results/folders/{name}/index.csv"
        for name in asked_folders
        if datasets[name].get("download")
    }
)


def lacking(kind):
    """The entries of a kind that are not fetched yet."""
    return {
        name: facts(config[kind][name])
        for (other, name), file in fetched.items()
        if other == kind and not os.path.isfile(file)
    }


def weighed(wildcards):
    """What is fetched, once it is told how large it is."""
    lists = {name: datasets[name].get("list", "") for kind, name in fetched if kind == "datasets"}
    if lost := [name for name in lists if lists[name] and not os.path.isfile(lists[name])]:
        told = (
            f"datasets.{name}.list: there is no file {lists[name]}; docs/data.md tells of lists"
            for name in lost
        )
        raise WorkflowError("\n".join(told))
    checkpoints.weigh_downloads.get()
    return [*fetched.values()]
