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
    wildcard_constraints:
        dataset="|".join(name for name in datasets if "draw" in datasets[name]) or "none",
    priority: 30  # trainings wait for it
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
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
        categories=lambda w: categories_file(w.dataset),
        columns=lambda w: image_columns(w.dataset),
        listed=lambda w: image_list(w.dataset),
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
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        code=program("pack_images.py"),
        origin=lambda w: folder_origin(w.dataset),
        dataset=lambda w: facts(datasets[w.dataset]),
        pixels=lambda w: pixels_of(w.dataset),
    script:
        "../scripts/pack_images.py"


rule map_saliency:
    """How salient each tile of each image is: the attention of one model's class token, as a rank."""
    input:
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
        weights=lambda w: weights(w.model),
    output:
        "results/saliency/{dataset}/{model}.npy",
    log:
        "logs/map_saliency/{dataset}/{model}.log",
    benchmark:
        "benchmarks/map_saliency/{dataset}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 4
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        origin=lambda w: saliency_origin(w.dataset, w.model),
        model=lambda w: facts(models[w.model]),
        head=lambda w: saliency()["head"],
        grid=lambda w: saliency()["grid"],
        compute=compute,
    script:
        "../scripts/map_saliency.py"


rule score_foreground:
    """How well one model's most salient tiles agree with the true masks of the objects, where there are masks."""
    input:
        saliency="results/saliency/{dataset}/{model}.npy",
        index="results/images/{dataset}.parquet",
        folder=lambda w: ancient(image_folder(w.dataset)),
        columns=lambda w: image_columns(w.dataset),
    output:
        FOREGROUND,
    log:
        "logs/score_foreground/{dataset}/{model}.log",
    benchmark:
        "benchmarks/score_foreground/{dataset}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        origin=lambda w: foreground_origin(w.dataset, w.model),
        pixels=lambda w: pixels_of(w.dataset),
    script:
        "../scripts/score_foreground.py"
