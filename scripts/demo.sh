#!/usr/bin/env bash
# usage: bash scripts/demo.sh [RUN] [OPTIONS of meddistill demo]
#
# Install MedDistill into .venv and run its demo: sample data, no download beyond the packages, under six minutes on two
# cores. RUN is the folder for its files (meddistill-demo).
# Example: bash scripts/demo.sh runs/demo --device cpu
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install --no-dev --inexact # what test.sh installed stays
exec .venv/bin/meddistill demo "$@"
