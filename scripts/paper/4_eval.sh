#!/usr/bin/env bash
# usage: bash scripts/paper/4_eval.sh RUN [OPTIONS of meddistill eval]
#
# The paper's fourth step (its `predict_eval.py`): the student against the true masks of the test split, with pictures
# and a report in RUN/eval. Any folders instead of a RUN (`predict_eval.py --image_dir --mask_dir --model_path
# --vis_dir`): meddistill eval --images DIR --masks DIR --student DIR --out DIR
# Needs the third step's RUN. Takes some minutes.
# Example: bash scripts/paper/4_eval.sh runs/paper --split val
set -euo pipefail
source "$(dirname "$0")/_common.sh"
begin 1 "$@"
meddistill eval "$1" --config "$config" "${@:2}"
