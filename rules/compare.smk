rule compare_runs:
    """What moved between another run and this one. Only runs when asked for: --config before=FOLDER."""
    input:
        unpack(compared),
        units=here("reports/runs_compared.sql"),
        figure=here("reports/runs_compared.py"),
        page=here("reports/page.html"),
    output:
        page="results/comparison.html",
        cells="results/comparison.csv",
    log:
        "logs/compare_runs.log",
    benchmark:
        "benchmarks/compare_runs.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=program("compare_runs.py", "patchwork/theme.py"),
        origin=lambda w: None if COMPARED["after"] else report_origin(),
        runs=[COMPARED["before"], COMPARED["after"] or "this run"],
    script:
        "../scripts/compare_runs.py"
