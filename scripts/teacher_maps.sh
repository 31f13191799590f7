#!/usr/bin/env bash
# What the scripts on real scenes share: sets up .venv where needed and makes the maps of a small real teacher.
#   source teacher_maps.sh; make_maps SCENE SIZE [MODEL]     sets: root, shared, scene, maps, python, schedule
# SHARED is the folder with assets/scenes and assets/teachers (../shared by default), MAPS where the maps go (0.4 to 1.6
# GB, build/SCENE_maps by default). Making them needs ai-edge-litert, which the locked set-up installs and the package
# itself does not need.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
shared="$(realpath -- "${SHARED:-$root/../shared}")"
python="$root/.venv/bin/python"
# Photos of 480x360 want more Gaussians, and more steps, than the preset for the CPU gives.
schedule=(--stage1.steps 4000 --stage1.refine-stop 3000 --stage1.max-gaussians 100000 --stage1.sh-interval 1000)

make_maps() {
    scene="$shared/assets/scenes/$1"
    maps="${MAPS:-$root/build/$1_maps}"
    local teacher="$shared/assets/teachers/mosaic/extract_features.py" needed
    for needed in "$scene/images" "$teacher"; do
        if [[ ! -e "$needed" ]]; then
            printf '%s: expected %s; set SHARED to the folder that has it\n' "$(basename -- "$0")" "$needed" >&2
            exit 1
        fi
    done
    bash "$root/scripts/setup.sh"
    cd -- "$root"
    if [[ ! -e "$maps/done" ]]; then
        "$python" "$teacher" --images "$scene/images" --out "$maps" --size "$2" ${3:+--model "$shared/assets/teachers/$3"}
        touch "$maps/done"
    fi
}

# Says what is where, once a run is done.
show_run() {
    printf '\nThe run is in %s:\n' "$root/$1"
    printf '  photo | truth where known | teacher | field, by text:  %s\n' "$root/$1/evaluation/*_labels.png"
    printf '  photo | teacher | field, as colours:                   %s\n' "$root/$1/evaluation/*_pca.png"
    printf '  scores:                                                %s\n' "$root/$1/evaluation/metrics.json"
    printf '  the scene with its features:                           %s\n' "$root/$1/scene.ply"
}
