"""Predictions and indexes to one DuckDB file, which must pass every check."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import building, files

given, params = snakemake.input, snakemake.params
lists = ("predictions", "indexes", "foregrounds", "trainings")  # Snakemake drops an empty one
kinds = {name: given.get(name, []) for name in lists}
kinds |= {name: given[name] for name in ("published", "superclasses", "claims", "glossary")}
told = {name: told for name, told in params.items() if name not in ("code", "origin")}
found = [*given.get("measures", []), *given.get("learnt", [])]
told["measures"] = [each | {"file": file} for each, file in zip(told["measures"], found, strict=True)]
told["models"] = [each | {"file": file} for each, file in zip(told["models"], given.weights, strict=True)]
sql = [Path(path).read_text() for path in given.marts], Path(given.checks).read_text()
with files.whole(snakemake.output[0]) as path:
    building.build(path, kinds, told, *sql, snakemake.threads, snakemake.resources.mem_mb)
