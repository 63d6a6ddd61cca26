#!/usr/bin/env bash
# usage: bash scripts/test.sh [--slow] [OPTIONS of pytest]
#
# Install what is needed into .venv, then run the tests; --slow adds those that take minutes. Needs git and Python.
# Takes some minutes on two cores, with --slow a quarter of an hour and more.
# Example: bash scripts/test.sh -k losses
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install
exec .venv/bin/python -m pytest "$@"
