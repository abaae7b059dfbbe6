#!/usr/bin/env bash
# What requirements-alone.txt lists, after the environment of torch.yaml is made.
set -e
python -m pip install --no-deps imagecorruptions-imaug==1.1.5
python -m pip install --no-deps lightly==1.6.0
python -m pip install --no-deps lightning-utilities==0.15.3
