"""What the config names on the disk, as a table on the terminal; it fails if not all is there and whole."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)

import sys
from pathlib import Path

import yaml

from patchwork import inventory

params, findings = snakemake.params, []
published = yaml.safe_load(Path(snakemake.input.published).read_text())
given = published, params.fetched, params.made, params.severities, params.categories
for finding in inventory.look(snakemake.config, *given):
    print(inventory.line(finding), file=jobs.terminal)
    findings.append(finding)
print(inventory.summary(findings), file=jobs.terminal)
sys.exit(any(finding.state in inventory.BROKEN for finding in findings))
