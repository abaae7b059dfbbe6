# What can be looked at before anything is made.


rule check_data:
    """All that the config names on the disk: what is there, and how to get what is not. Needs no other result."""
    input:
        published=here("rules/datasets.yaml"),
    log:
        "logs/check_data.log",
    localrule: True
    conda:
        "../envs/torch.yaml"
    params:
        fetched={f"{kind}.{name}": file for (kind, name), file in fetched.items()},
        made={name: f"results/folders/{name}/index.csv" for name in stylized},
        severities=lambda w: asked_severities(),
        categories=here("rules/categories"),
    script:
        "../scripts/check_data.py"
