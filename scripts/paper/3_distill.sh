#!/usr/bin/env bash
# usage: bash scripts/paper/3_distill.sh RUN [OPTIONS of meddistill distill]
#
# The paper's third step (its `meddistill.py`): SAM 2 Hiera-L turns the detector's boxes into soft masks, which the
# nested U-Net learns for 100 epochs under the published loss weighting. Without a GPU and without SAM 2's weights
# (898 MB, fetched once) try: --teacher litemedsam
# Needs the second step's RUN. Takes hours on a GPU, days on two cores.
# Example: bash scripts/paper/3_distill.sh runs/paper --teacher litemedsam --epochs 5
set -euo pipefail
source "$(dirname "$0")/_common.sh"
begin 1 "$@"
meddistill distill "$1" --config "$config" "${@:2}"
