#!/usr/bin/env bash
# Collects the wheels that gsdff and its tests need on a machine without a network that has torch already:
#   bash scripts/pack_wheels.sh DIR [--have LIST] [--python 3.12]
# LIST holds the other machine's packages, as `python3 -m pip list --format=freeze` prints them there.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
exec "$root/.venv/bin/python" "$root/scripts/pack_wheels.py" "$@"
