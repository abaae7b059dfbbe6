"""A model and packed images to a strip of predictions."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import costs, strips

params = snakemake.params
strip = strips.of_job(snakemake.input, snakemake.wildcards, params)
cells = [tuple(cell) for cell in params.cells]
strips.evaluate(strip, cells, params.store, snakemake.output[0], params.code)
told = {"origin": params.origin, "cells": params.cells}
costs.note(params.cost, strip, params.model, snakemake.threads, **told)
