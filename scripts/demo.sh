#!/usr/bin/env bash
# Install MedDistill into .venv and run its demo: sample data, no download beyond the packages, about 5 minutes.
set -euo pipefail
source "$(dirname "$0")/_setup.sh" --no-dev
exec .venv/bin/meddistill demo "$@"
