#!/usr/bin/env bash
# The README's table on real data: every number of it, from one command; on two CPU cores a smaller one.
# Needs the set with its groups.csv and a YOLO's start weights. Takes a quarter of an hour on an H200; on two CPU
# cores a quarter of an hour a student.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/studies/brain_tumor.sh SOURCE DETECTOR_START OUT [DEVICE]

  SOURCE          brain tumour MRI in the Kaggle layout (image/1..3, mask/1..3) with groups.csv (id,class,fold,series)
  DETECTOR_START  pretrained YOLO weights to start from, e.g. yolov8n.pt
  OUT             folder for the RUNs: OUT/full (all training boxes) and OUT/quarter (boxes on a quarter)
  DEVICE          cpu (default), cuda, auto

Trains on folds 1-3 (or a seeded subset) with some series held out for validation, tests on fold 4. Made for each seed:
the student of all boxes, its twin on the true masks, the student of the published objective on the same targets, the
student of a quarter of the boxes, and that of the annotated quarter alone, also trained longer. Typed again, it goes on where it stopped.

MEDDISTILL_SEEDS (default: 0 1), MEDDISTILL_SET (more settings for every stage), MEDDISTILL_CONFIG (a file of configs/;
default: brain_tumor_cpu) and MEDDISTILL_STEPS (default: full quarter table) change what is run.

Example: bash scripts/studies/brain_tumor.sh data/brain-tumor yolov8n.pt runs
The README's table, with a GPU:
         MEDDISTILL_CONFIG=brain_tumor_gpu MEDDISTILL_SEEDS="0 1 2" \
             bash scripts/studies/brain_tumor.sh data/brain-tumor yolov8n.pt runs cuda
HELP
}

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
if [ $# -lt 3 ]; then usage >&2 && exit 2; fi
source_dir=$1 start=$2 out=$3 device=${4:-cpu}
here=$(cd "$(dirname "$0")/../.." && pwd)
read -ra more <<<"${MEDDISTILL_SET:-}"
read -ra seeds <<<"${MEDDISTILL_SEEDS:-0 1}"
read -ra steps <<<"${MEDDISTILL_STEPS:-full quarter table}"
settings=(--config "$here/configs/${MEDDISTILL_CONFIG:-brain_tumor_cpu}.yaml" ${more[@]+"${more[@]}"})
split=(--source "$source_dir" --dataset brain-tumor --groups "$source_dir/groups.csv" --test fold=4)
# The published loss: its terms and weights; targets, student, schedule and augmentation are ours.
published=(weighting=paper dice_weight=0 probability_weight=1 feature_weight=1 feature_loss=mse confidence_gamma=0)
python=${PYTHON:-python3}

run() {
    echo "+ meddistill $*" >&2
    "$python" -m meddistill "$@"
}

prepare_and_detect() { # RUN FRACTION EPOCHS
    run prepare "$1" "${split[@]}" --box-fraction "$2" --set prepare.thin_validation=false --seed 0 "${settings[@]}"
    run detect "$1" --weights "$start" --trust-weights --device "$device" --seed 0 "${settings[@]}" --set "detect.epochs=$3"
}

student() { # RUN NAME SEED [SETTING...]: the student NAME-SEED and its evaluation eval-NAME-SEED
    local at=$1 name=$2-$3 seed=$3 own=()
    shift 3
    for setting in "$@"; do own+=(--set "distill.$setting"); done
    run distill "$at" --out "$at/$name" --seed "$seed" --device "$device" "${settings[@]}" ${own[@]+"${own[@]}"}
    judge "$at" "$name"
}

judge() { # RUN STUDENT; the baselines are the same for all students of a RUN: once is enough
    local baselines=false
    [ "$2" = "student-${seeds[0]}" ] && baselines=true
    run eval "$1" --student "$1/$2" --out "$1/eval-$2" --device "$device" "${settings[@]}" --set eval.baselines=$baselines
}

full() {
    prepare_and_detect "$out/full" 1.0 30
    for seed in "${seeds[@]}"; do
        student "$out/full" student "$seed"
        "$python" "$here/scripts/studies/supervised_twin.py" "$out/full" --out "$out/full/twin-$seed" --seed "$seed" \
            --device "$device" "${settings[@]}"
        judge "$out/full" "twin-$seed"
        student "$out/full" published "$seed" "${published[@]}"
    done
}

quarter() {
    # A quarter of the boxes makes a quarter of the steps an epoch: more epochs, or the detector is cut short.
    prepare_and_detect "$out/quarter" 0.25 40
    # Without detected boxes the unknown cases are left out.
    echo case_id,split,x1,y1,x2,y2,confidence,class >"$out/no_boxes.csv"
    # `alone` has the schedule of all others; `longer` four times its epochs, about as many steps as `student` makes.
    local epochs alone=(test_targets=false "boxes_file=$out/no_boxes.csv")
    epochs=$("$python" - "${settings[@]}" <<'PYTHON'
import sys
from pathlib import Path
from meddistill.config_layers import load_config
_, config, *overrides = sys.argv[1:]
print(4 * load_config(Path(config), {}, [word for word in overrides if "=" in word]).distill.epochs)
PYTHON
    )
    for seed in "${seeds[@]}"; do
        student "$out/quarter" student "$seed" test_targets=false
        student "$out/quarter" alone "$seed" "${alone[@]}"
        student "$out/quarter" longer "$seed" "${alone[@]}" "epochs=$epochs"
    done
}

table() {
    "$python" "$here/scripts/studies/brain_tumor_table.py" "$out"
}

for step in "${steps[@]}"; do
    case "$step" in full | quarter | table) "$step" ;; *) echo "error: no step '$step'" >&2 && exit 2 ;; esac
done
