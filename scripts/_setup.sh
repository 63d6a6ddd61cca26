# Sourced by demo.sh and test.sh: makes .venv and installs the project into it. Needs python3 (3.11 to 3.13) with pip.
# shellcheck shell=bash

# The opening comment of the script that sources this is its help; nothing is installed for that.
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit 0 ;; esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_uv() {
    if command -v uv >/dev/null 2>&1; then
        UV=(uv)
        return
    fi
    # A private copy of uv: the user's own Python stays as it is.
    if [ ! -x .venv-uv/bin/uv ]; then
        echo "installing uv into .venv-uv" >&2
        python3 -m venv .venv-uv && .venv-uv/bin/pip install --quiet --disable-pip-version-check uv
    fi
    UV=(.venv-uv/bin/uv)
}

# Arguments go to `uv sync`. A function, as a sourced file would see the arguments of the script that sources it.
install() {
    find_uv
    # Compiled now, on all cores: else every first start compiles thousands of files of torch, half a minute each time.
    export UV_PROJECT_ENVIRONMENT=.venv UV_COMPILE_BYTECODE=1
    echo "installing into .venv (torch is large: a few minutes on a slow line)" >&2
    "${UV[@]}" sync --quiet "$@"
}
