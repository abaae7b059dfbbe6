"""What is learnt from frozen features: where it is and what decides it. No rules here."""

TOKENS = "results/tokens/{dataset}/{model}.npy"

few_shots = {
    name: entry if entry["ways"] == "variable" else {"shots": [1, 5], "queries": 15} | entry
    for name, entry in config["few_shots"].items()
}


def transfer_datasets(transfer):
    """The datasets of a transfer, by the part that each has in it: all of `data`, or train, test, validation."""
    entry = config["transfers"][transfer]
    return {part: entry[part] for part in entries.TRANSFERRED if isinstance(entry.get(part), str)}


def transfer_shares(transfer):
    """The parts of a transfer that are shares of another's images: {part: share}."""
    entry = config["transfers"][transfer]
    return {part: entry[part] for part in ("test", "validation") if not isinstance(entry[part], str)}


# What is read of the features of a dataset.
READ = {
    "tokens": TOKENS,
    "facts": "results/tokens/{dataset}/{model}.json",
    "images": "results/images/{dataset}.npy",
    "index": "results/images/{dataset}.parquet",
}


def probe_inputs(where):
    """The tokens, images and index of each dataset of a transfer, in the order of `transfer_datasets`."""
    named = transfer_datasets(where.transfer).values()
    return {
        kind: [pattern.format(dataset=dataset, model=where.model) for dataset in named]
        for kind, pattern in READ.items()
    }


def few_shot_inputs(where):
    """The same of the one dataset that episodes are drawn from."""
    dataset = few_shots[where.few_shot]["data"]
    return {kind: pattern.format(dataset=dataset, model=where.model) for kind, pattern in READ.items()}


def tokens_read(transfers, episodes):
    """What asked transfers and few_shots read, each once: dicts of dataset and model."""
    read = {(d, each["model"]) for each in transfers for d in transfer_datasets(each["transfer"]).values()}
    read |= {(few_shots[each["few_shot"]]["data"], each["model"]) for each in episodes}
    return [{"dataset": dataset, "model": model} for dataset, model in sorted(read)]


asked_tokens = tokens_read(asked_transfers, asked_few_shots)
# What was learnt, as the warehouse is told of measures: a transfer stands in the place of a dataset.
learnt = [
    *(
        each | {"dataset": each["transfer"], "measure": "probe", "file": PROBES.format(**each)}
        for each in asked_transfers
    ),
    *(
        each | {"dataset": each["few_shot"], "measure": "few_shot", "file": FEW_SHOTS.format(**each)}
        for each in asked_few_shots
    ),
]


@cache
def tokens_origin(dataset, model):
    code = program("extract_tokens.py")
    return digest([images_origin(dataset), weights_origin(model), compute["dtype"], code])


@cache
def probe_origin(transfer, model):
    read = {part: tokens_origin(dataset, model) for part, dataset in transfer_datasets(transfer).items()}
    return digest([config["transfers"][transfer], read, program("probe.py")])


@cache
def few_shot_origin(few_shot, model):
    entry = few_shots[few_shot]
    return digest([entry, seeds, tokens_origin(entry["data"], model), program("few_shot.py")])
