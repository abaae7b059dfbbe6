rule train_stylizer:
    """The decoder of AdaIN that belongs to an encoder: trained here, or a file that is checked to fit."""
    input:
        unpack(training_folders),
        weights=lambda w: weights(stylizers[w.stylizer]["encoder"]),
        decoder=lambda w: decoder_file(w.stylizer),
    output:
        STYLIZER,
    log:
        "logs/train_stylizer/{stylizer}.log",
    benchmark:
        "benchmarks/train_stylizer/{stylizer}.jsonl"
    priority: 30  # trainings wait for it
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(480),
    params:
        origin=lambda w: stylizer_origin(w.stylizer),
        store=lambda w: f"results/unfinished/{w.stylizer}-{stylizer_origin(w.stylizer)}.pt",
        stylizer=lambda w: stylizers[w.stylizer],
        model=lambda w: facts(models[stylizers[w.stylizer]["encoder"]]),
        images=lambda w: [datasets[d].get("images") for d in trained_on(w.stylizer, "content")],
        pixels=config["pixels"],
        compute={key: compute[key] for key in ("device", "channels_last")},
    script:
        "../scripts/train_stylizer.py"


rule stylize_images:
    """One of the shards of a stylized dataset, made in a store: what a job loses is a batch."""
    input:
        unpack(stylized_folders),
        weights=lambda w: weights(stylizer_of(w)["encoder"]),
        decoder=lambda w: STYLIZER.format(**datasets[w.dataset]),
    output:
        "results/shards/{dataset}/{shard}-{shards}.txt",
    log:
        "logs/stylize_images/{dataset}/{shard}-{shards}.log",
    benchmark:
        "benchmarks/stylize_images/{dataset}/{shard}-{shards}.jsonl"
    priority: 30  # trainings wait for it
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        origin=lambda w: folder_origin(w.dataset),
        dataset=lambda w: facts(datasets[w.dataset]),
        stylizer=stylizer_of,
        model=lambda w: facts(models[stylizer_of(w)["encoder"]]),
        images=lambda w: stylized_images(w.dataset),
        pixels=config["pixels"],
        store=lambda w: stylized_store(w.dataset),
        compute={key: compute[key] for key in ("device", "channels_last")},
    script:
        "../scripts/stylize_images.py"


rule gather_stylized:
    """The shards of a stylized dataset as an image folder, with masks and index like that of its contents."""
    input:
        unpack(stylized_folders),
        shards=lambda w: shards(w.dataset),
        columns=lambda w: image_columns(datasets[w.dataset]["stylize"]),
    output:
        images=directory("results/folders/{dataset}/images"),
        masks=directory("results/folders/{dataset}/masks"),
        index="results/folders/{dataset}/index.csv",
    log:
        "logs/gather_stylized/{dataset}.log",
    benchmark:
        "benchmarks/gather_stylized/{dataset}.jsonl"
    wildcard_constraints:
        dataset="|".join(stylized) or "none",
    priority: 30  # trainings wait for it
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=program("gather_stylized.py"),
        origin=lambda w: folder_origin(w.dataset),
        images=lambda w: stylized_images(w.dataset),
        pixels=config["pixels"],
        store=lambda w: stylized_store(w.dataset),
    script:
        "../scripts/gather_stylized.py"


rule draw_stylized:
    """A few images of a stylized dataset between their contents and styles."""
    input:
        images="results/folders/{dataset}/images",
        index="results/folders/{dataset}/index.csv",
        contents=lambda w: ancient(image_folder(datasets[w.dataset]["stylize"])),
        styles=lambda w: ancient(image_folder(datasets[w.dataset]["styles"])),
    output:
        report(STYLIZED, caption="../reports/caption.rst", category="Stylized images"),
    log:
        "logs/draw_stylized/{dataset}.log",
    benchmark:
        "benchmarks/draw_stylized/{dataset}.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=program("draw_stylized.py"),
        origin=lambda w: folder_origin(w.dataset),
        pixels=config["pixels"],
        caption="From left to right: the content, the style, the content in that style.",
    script:
        "../scripts/draw_stylized.py"
