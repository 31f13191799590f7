#!/usr/bin/env bash
# A teacher that contradicts itself: a small segmenter that calls one and the same stuffed fox a dog in some photos and
# a cat in others. The field has one answer for every place: see "view consistency", and the pictures. There is no truth
# to score against. Arguments go to the training:   bash scripts/fox.sh --stage1.steps 500
set -euo pipefail

source "$(dirname -- "${BASH_SOURCE[0]}")/teacher_maps.sh"
make_maps fox 65 deeplab_voc/deeplabv3_mnv2_pascal_quant.tflite

run=runs/fox_animals
"$python" -m gsdff.train --data "$scene" --downscale 2 --teacher precomputed --teacher.maps "$maps" --out "$run" "$@"
"$python" -m gsdff.evaluate "$run" --classes dog cat background
"$python" -m gsdff.export "$run"
show_run "$run"
