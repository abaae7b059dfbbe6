# The rules that may touch the network; they run where Snakemake runs.


rule fetch_weights:
    """Weights from the hub, a URL or a file, or random ones."""
    input:
        lambda w: weights_file(w.model),
    output:
        "results/weights/fetched/{model}.safetensors",
    log:
        "logs/fetch_weights/{model}.log",
    benchmark:
        "benchmarks/fetch_weights/{model}.jsonl"
    localrule: True
    conda:
        "../envs/torch.yaml"
    params:
        code=program("fetch_weights.py"),
        stamp=lambda w: weights_stamp(w.model),
        model=lambda w: facts(models[w.model]),
    script:
        "../scripts/fetch_weights.py"


rule fetch_decoder:
    """The decoder of a stylizer, from a URL."""
    output:
        DECODER,
    log:
        "logs/fetch_decoder/{stylizer}.log",
    benchmark:
        "benchmarks/fetch_decoder/{stylizer}.jsonl"
    localrule: True
    conda:
        "../envs/torch.yaml"
    params:
        code=program("fetch_decoder.py"),
        stylizer=lambda w: stylizers[w.stylizer],
    script:
        "../scripts/fetch_decoder.py"


rule fetch_images:
    """A split of a set that torchvision knows, as an image folder of links. Only with `download: true` is what
    is not there fetched."""
    input:
        listed=lambda w: datasets[w.dataset].get("list", []),
        published=ancient(here("rules/datasets.yaml")),
    output:
        images=directory("results/folders/{dataset}/images"),
        index="results/folders/{dataset}/index.csv",
    log:
        "logs/fetch_images/{dataset}.log",
    benchmark:
        "benchmarks/fetch_images/{dataset}.jsonl"
    wildcard_constraints:
        dataset="|".join(name for name in datasets if "fetch" in datasets[name]) or "none",
    priority: 30  # trainings wait for it
    localrule: True
    conda:
        "../envs/torch.yaml"
    params:
        origin=lambda w: folder_origin(w.dataset),
        dataset=lambda w: facts(datasets[w.dataset]),
    script:
        "../scripts/fetch_images.py"


checkpoint weigh_downloads:
    """How large what is not fetched yet is, and whether the disks have room for it. Nothing is fetched before."""
    output:
        "results/downloads.csv",
    log:
        "logs/weigh_downloads.log",
    localrule: True
    conda:
        "../envs/torch.yaml"
    params:
        models=lambda w: lacking("models"),
        stylizers=lambda w: lacking("stylizers"),
        datasets=lambda w: lacking("datasets"),
    script:
        "../scripts/weigh_downloads.py"
