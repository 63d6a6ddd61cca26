#!/usr/bin/env bash
# The README's table on real data: every number of it, from one command, on two CPU cores in a few hours.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/brain_tumor.sh SOURCE DETECTOR_START OUT [DEVICE]

  SOURCE          brain tumour MRI in the Kaggle layout (image/1..3, mask/1..3) with groups.csv (id,class,fold,series)
  DETECTOR_START  pretrained YOLO weights to start from, e.g. yolov8n.pt
  OUT             folder for the RUNs: OUT/full (all training boxes) and OUT/quarter (boxes on a quarter)
  DEVICE          cpu (default), cuda, auto

Trains on a seeded subset of folds 1-3 with some series held out for validation, tests on fold 4.
MEDDISTILL_SET holds more settings for every stage; MEDDISTILL_CONFIG names another file of configs/ (brain_tumor).

Example: MEDDISTILL_SET="--set distill.epochs=8" bash scripts/brain_tumor.sh data/brain-tumor yolov8n.pt runs
HELP
}

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
if [ $# -lt 3 ]; then usage >&2 && exit 2; fi
source_dir=$1 start=$2 out=$3 device=${4:-cpu}
here=$(cd "$(dirname "$0")/.." && pwd)
read -ra more <<<"${MEDDISTILL_SET:-}"
settings=(--config "$here/configs/${MEDDISTILL_CONFIG:-brain_tumor_cpu}.yaml" --seed 0 ${more[@]+"${more[@]}"})
split=(--source "$source_dir" --dataset brain-tumor --groups "$source_dir/groups.csv" --test fold=4)
python=${PYTHON:-python3}

run() {
    echo "+ meddistill $*" >&2
    "$python" -m meddistill "$@"
}

for name in full quarter; do
    fraction=1.0
    [ "$name" = quarter ] && fraction=0.25
    run prepare "$out/$name" "${split[@]}" --box-fraction "$fraction" "${settings[@]}"
    # A quarter of the boxes makes a quarter of the steps an epoch: more epochs, or the detector is cut short.
    epochs=()
    [ "$name" = quarter ] && epochs=(--epochs 40)
    run detect "$out/$name" --weights "$start" --trust-weights --device "$device" "${settings[@]}" ${epochs[@]+"${epochs[@]}"}
    # The teacher on the test cases is a baseline of the first RUN; once is enough.
    again=()
    [ "$name" = quarter ] && again=(--set distill.test_targets=false)
    run distill "$out/$name" --device "$device" "${settings[@]}" ${again[@]+"${again[@]}"}
    run eval "$out/$name" --device "$device" "${settings[@]}"
done
"$python" "$here/scripts/supervised_twin.py" "$out/full" --device "$device" --out "$out/full/student-twin" "${settings[@]}"
run eval "$out/full" --student "$out/full/student-twin" --out "$out/full/eval-twin" --device "$device" "${settings[@]}"
"$python" "$here/scripts/brain_tumor_table.py" "$out"
