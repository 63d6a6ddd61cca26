#!/usr/bin/env bash
# Install MedDistill into .venv and run its demo: sample data, no download beyond the packages, 6 to 7 minutes on two CPU cores.
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install --no-dev
exec .venv/bin/meddistill demo "$@"
