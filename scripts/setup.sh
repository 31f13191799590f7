#!/usr/bin/env bash
# Makes .venv in the repository's root and installs gsdff into it with the versions of requirements.lock.
# Does nothing when that has been done already. PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
stamp="$venv/gsdff-setup.sha256"
needed_gb=7

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# What an installation depends on: the locked versions, the package's own facts, and where both lie.
fingerprint() {
    { cat -- "$root/requirements.lock" "$root/pyproject.toml"; printf '%s' "$root"; } | sha256sum | cut -d ' ' -f 1
}

# The first interpreter that is new enough and can make environments, or the one PYTHON names. A name on PATH is
# tried, not trusted: version managers leave names there that run nothing.
find_python() {
    local candidate without_venv=""
    local candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [[ -z "${PYTHON:-}" ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
        without_venv="${without_venv:-$candidate}"
    done
    if [[ -n "$without_venv" ]]; then
        die "$without_venv cannot make virtual environments: its venv module is missing." \
            "On Debian and Ubuntu: sudo apt install $("$without_venv" -c \
                'import sys; print("python%d.%d-venv" % sys.version_info[:2])'), then run this again."
    fi
    die "expected Python 3.10 or newer, found $("${candidates[0]}" --version 2>/dev/null || echo none)." \
        "Install one (on Debian and Ubuntu: sudo apt install python3 python3-venv), or name one: PYTHON=/path/to/python"
}

free_gb() {
    df -Pk -- "$root" | awk 'NR == 2 { print int($4 / 1048576) }'
}

make_environment() {
    local python
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    if [[ -e "$venv" && ! -e "$venv/pyvenv.cfg" ]]; then
        die "$venv is there and is no virtual environment: move it away, then run this again."
    fi
    python="$(find_python)"
    if (("$(free_gb)" < needed_gb)); then
        die "expected $needed_gb GB of free disk for the environment (torch with CUDA is most of it)," \
            "found $(free_gb) GB at $root: make room, then run this again."
    fi
    printf 'setup: making %s with %s\n' "$venv" "$("$python" --version)"
    "$python" -m venv --clear "$venv" || die "$python could not make $venv; its own message is above."
}

install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check "$@" ||
        die "installing failed; pip's own message is above. $(free_gb) GB of disk are free at $root." \
            "Where it speaks of the network or of space, mend that and run this again: what is there is kept."
}

if [[ -f "$stamp" && "$(cat -- "$stamp")" == "$(fingerprint)" ]] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
make_environment
printf 'setup: installing the locked versions, about 3 GB to download the first time; a few minutes\n'
install -r "$root/requirements.lock"
printf 'setup: installing gsdff itself\n'
install --no-deps --no-build-isolation -e "$root"
fingerprint >"$stamp"
printf 'setup: done; %s\n' "$venv"
