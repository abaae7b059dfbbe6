rule draw_images:
    """Draw a shape-texture dataset: an image folder with true masks and both labels of every image."""
    output:
        images=directory("results/folders/{dataset}/images"),
        masks=directory("results/folders/{dataset}/masks"),
        index="results/folders/{dataset}/index.csv",
    log:
        "logs/draw_images/{dataset}.log",
    benchmark:
        "benchmarks/draw_images/{dataset}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 2
    params:
        code=program("draw_images.py"),
        dataset=lambda w: facts(datasets[w.dataset]),
    script:
        "../scripts/draw_images.py"


rule pack_images:
    """Decode, resize and crop once: uint8 [N, 3, H, W], with an index of what each row is."""
    input:
        folder=lambda w: ancient(image_folder(w.dataset)),  # its files are in `origin`, its time says nothing
        classes=lambda w: datasets[w.dataset].get("classes", []),
        columns=lambda w: image_columns(w.dataset),
    output:
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
    log:
        "logs/pack_images/{dataset}.log",
    benchmark:
        "benchmarks/pack_images/{dataset}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 4
    params:
        code=program("pack_images.py"),
        origin=lambda w: folder_origin(w.dataset),
        dataset=lambda w: facts(datasets[w.dataset]),
        pixels=config["pixels"],
    script:
        "../scripts/pack_images.py"


rule fetch_weights:
    """Weights from the hub, a URL or a file. The only rule that touches the network; it runs where Snakemake runs."""
    input:
        lambda w: [f for f in [models[w.model].get("weights", "")] if f and not is_url(f)],
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
