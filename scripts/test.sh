#!/usr/bin/env bash
# Install what is needed into .venv, then run the tests. Arguments go to pytest: `bash scripts/test.sh -k losses`.
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install
exec .venv/bin/python -m pytest "$@"
