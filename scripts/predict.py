"""A model and packed images to a strip of predictions."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import costs, models, packed, strips

given, params, where = snakemake.input, snakemake.params, snakemake.wildcards
data = packed.Packed(given.images, given.index)
model = models.build(params.model, given.weights, data.classes, data.categories)
model, needs = models.place(model, params.compute), {name: given[name] for name in params.needs}
seen = where.dataset, where.perturbation, where.variant, params.compute, params.settings
strip = strips.Strip(model, data, *seen, needs=needs, needs_origin=params.needs)
cells = [tuple(cell) for cell in params.cells]
strips.evaluate(strip, cells, params.store, snakemake.output[0], params.code)
told = {"origin": params.origin, "cells": params.cells}
costs.note(params.cost, strip, params.model, snakemake.threads, **told)
