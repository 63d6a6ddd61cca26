# Sourced by the four steps: --help, the number of arguments, and where `meddistill` is.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
config=$here/configs/paper.yaml

# The script's own opening comment is its help; `begin N "$@"` asks for at least N arguments.
begin() {
    local wanted=$1 help
    shift
    help=$(sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0")
    case "${1:-}" in -h | --help) printf '%s\n' "$help" && exit 0 ;; esac
    if [ $# -lt "$wanted" ]; then printf '%s\n' "$help" >&2 && exit 2; fi
}

# The checkout's own environment where scripts/demo.sh or test.sh made it, else what is on the path.
meddistill() {
    if [ -n "${MEDDISTILL:-}" ]; then
        $MEDDISTILL "$@"
    elif [ -x "$here/.venv/bin/meddistill" ]; then
        "$here/.venv/bin/meddistill" "$@"
    else
        command meddistill "$@"
    fi
}
