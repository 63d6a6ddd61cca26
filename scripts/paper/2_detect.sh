#!/usr/bin/env bash
# usage: bash scripts/paper/2_detect.sh RUN [OPTIONS of meddistill detect]
#
# The paper's second step (its `detection.py`): YOLO at 256 px, trained on the boxes; then boxes of at least 0.5
# confidence for every image.
# Needs the first step's RUN. Takes minutes on a GPU, hours on two cores.
# Example: bash scripts/paper/2_detect.sh runs/paper --device cuda
set -euo pipefail
source "$(dirname "$0")/_common.sh"
begin 1 "$@"
meddistill detect "$1" --config "$config" "${@:2}"
