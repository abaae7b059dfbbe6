rule build_warehouse:
    """One DuckDB file: views of the parquet files, marts for the figures, checks that must find nothing."""
    input:
        predictions=paths(STRIP),
        indexes=paths("results/images/{dataset}.parquet", packed),
        measures=[MEASURED.format(**each) for each in asked_measures],
        learnt=[each["file"] for each in learnt],
        foregrounds=foregrounds,
        trainings=expand("results/trainings/{run}.parquet", run=asked_runs),
        decisions=[file for files in decision_files.values() for file in files],
        published=here("reports/published.csv"),
        superclasses=here("reports/superclasses.csv"),
        claims=here("reports/claims.csv"),
        glossary=here("reports/glossary.csv"),
        weights=[weights(model) for model in asked_models],
        marts=[here(path) for path in marts],
        checks=here("reports/checks.sql"),
    output:
        "results/warehouse.duckdb",
    log:
        "logs/build_warehouse.log",
    benchmark:
        "benchmarks/build_warehouse.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=program("build_warehouse.py"),
        origin=lambda w: report_origin(),
        saliency=config.get("saliency"),
        asked=lambda w: [strip | {"cells": strip_cells(strip)} for strip in asked],
        reference=reference,
        trainings=[training_facts(name) for name in asked_models if "run" in models[name]],
        stylized=stylized_facts(),
        measures=asked_measures + learnt,  # in the order of the inputs
        columns={name: measure["columns"] for name, measure in measures.items()},
        decisions=decision_files,
        published_as=published_as,
        models=[model_card(name) for name in asked_models],
        jobs=lambda w: recorded_jobs(),
        absent=absent,
    script:
        "../scripts/build_warehouse.py"


rule draw_figure:
    """A query and a chart, both in reports/figures/{figure}.py; its docstring is the caption. The chart for the page,
    and for print."""
    input:
        warehouse="results/warehouse.duckdb",
        figure=here("reports/figures/{figure}.py"),
    output:
        json="results/figures/{figure}.json",
        pdf="results/figures/{figure}.pdf",
        svg=report(
            "results/figures/{figure}.svg",
            caption="../reports/caption.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png="results/figures/{figure}.png",
        csv="results/figures/{figure}.csv",
    log:
        "logs/draw_figure/{figure}.log",
    benchmark:
        "benchmarks/draw_figure/{figure}.jsonl"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=program("draw_figure.py"),
        origin=lambda w: report_origin(),
        caption=lambda w: figure(w.figure)["doc"],
    script:
        "../scripts/draw_figure.py"


rule write_report:
    """Every figure, table and sheet on one page that opens without a network."""
    input:
        warehouse="results/warehouse.duckdb",
        specs=expand("results/figures/{figure}.json", figure=figures),
        sheets=[*sheets],
        examples=[*pictures],
        stylized=stylized_sheets,
        page=here("reports/page.html"),
    output:
        report("results/report.html", category="Report"),
    log:
        "logs/write_report.log",
    benchmark:
        "benchmarks/write_report.jsonl"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=program("write_report.py"),
        origin=lambda w: report_origin(),
        captions={name: figure["doc"] for name, figure in figures.items()},
        sheets=[sheet_facts(strips[0]) for strips in sheets.values()],
        examples=[picture_facts(shown) for shown in pictures.values()],
        stylized={dataset: facts(datasets[dataset]) for dataset in asked_stylized},
        missing=missing,
        settings=config,
    script:
        "../scripts/write_report.py"
