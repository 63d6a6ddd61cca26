#!/usr/bin/env bash
# usage: bash scripts/test.sh [--slow] [OPTIONS of pytest]
#
# Install what is needed into .venv, then run the tests; --slow adds those that take minutes.
# Example: bash scripts/test.sh -k losses
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install
exec .venv/bin/python -m pytest "$@"
