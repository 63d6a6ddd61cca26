#!/usr/bin/env bash
# usage: bash scripts/test.sh [--slow] [OPTIONS of pytest]
#
# Install what is needed into .venv, then run the tests; --slow adds those that take minutes. Needs git and Python.
# Takes some minutes on two cores, a file of tests on each, with --slow a quarter of an hour and more, one by one.
# Example: bash scripts/test.sh -k losses
set -euo pipefail
source "$(dirname "$0")/_setup.sh"
install
spread=(--numprocesses logical --dist loadfile)
for option in "$@"; do
    # Those that take minutes measure times: they run alone.
    [ "$option" = --slow ] && spread=()
done
exec .venv/bin/python -m pytest ${spread[@]+"${spread[@]}"} "$@"
