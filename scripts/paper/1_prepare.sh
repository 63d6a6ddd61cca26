#!/usr/bin/env bash
# usage: bash scripts/paper/1_prepare.sh RUN SOURCE [OPTIONS of meddistill prepare]
#
# The paper's first step (its `Creat_yolodata.py --dataset p`): images, boxes from the masks and YOLO labels of the
# pituitary cases. SOURCE is the Kaggle brain tumour set (image/{0,1,2,3}, mask/{0,1,2,3}). For its data set `pm`
# add: --classes pituitary,meningioma
# Needs that set. Takes some minutes on two cores.
# Example: bash scripts/paper/1_prepare.sh runs/paper data/brain-tumor --classes pituitary,meningioma
set -euo pipefail
source "$(dirname "$0")/_common.sh"
begin 2 "$@"
meddistill prepare "$1" --source "$2" --config "$config" "${@:3}"
