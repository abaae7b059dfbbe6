#!/usr/bin/env bash
# What requirements-alone.txt lists, after the environment of torch.yaml is made.
python -m pip install --no-deps imagecorruptions-imaug==1.1.5
