#!/usr/bin/env bash
# Install MedDistill into .venv and run its demo: sample data, no download beyond the packages, under six minutes on two cores.
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install --no-dev
exec .venv/bin/meddistill demo "$@"
