#!/usr/bin/env bash
# From nothing to detections: makes .venv, installs, generates scenes, trains the three stages, evaluates,
# exports and predicts. Run it again and it goes on from where it was.
#
#   bash scripts/quickstart.sh
#   REQUIREMENTS=requirements-keras3.txt bash scripts/quickstart.sh      the newest TensorFlow and Keras
#   PYTHON=/path/to/python3.11 bash scripts/quickstart.sh
set -euo pipefail

die() { echo "scripts/quickstart.sh: $*" >&2; exit 1; }

case ${1:-} in
    '') ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) die "takes no arguments, and not '$1'; see --help for the variables that it reads." ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
REQUIREMENTS=${REQUIREMENTS:-requirements.txt}
DATA=data/scenes RUN=runs/quickstart NAME=scenes

step() { printf '\n== %s (%d s since the install)\n' "$1" "$((SECONDS - installed))"; }

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$PYTHON cannot make virtual environments; on Debian install them with 'apt-get install python3-venv'."
[ ! -e .venv ] || [ -f .venv/stamp ] ||
    die ".venv is here already and this script did not make it; rename or remove it, then start again."
stamp=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'; pwd; cat "$REQUIREMENTS" setup.cfg; } | sha256sum)
if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ]; then
    echo "== installing $REQUIREMENTS into .venv"
    mkdir -p .venv
    echo "not finished" >.venv/stamp  # so that after an interruption the folder is known to be ours
    find .venv -mindepth 1 -maxdepth 1 ! -name stamp -exec rm -rf {} +
    "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$REQUIREMENTS"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$stamp" >.venv/stamp
fi
installed=$SECONDS
PATH="$PWD/.venv/bin:$PATH"

step "generating scenes"
keras-mrcnn data scenes "$DATA" --train 3000 --val 150 --seed 0

step "training RPN, box head and mask head"
if [ -f "$RUN/checkpoint.safetensors" ]; then
    keras-mrcnn train --resume --run "$RUN"
else
    rm -rf "$RUN"
    keras-mrcnn train --preset scenes-small --data "$DATA" --run "$RUN"
fi

step "evaluating on the 150 scenes that training never saw"
keras-mrcnn evaluate "$RUN" --data "$DATA" --json "$RUN/evaluation.json"

step "exporting to saved_models/"
keras-mrcnn export "$RUN" --name "$NAME"

step "predicting"
keras-mrcnn predict "$RUN" "$DATA/images/val" --out "$RUN/predictions"

step "done: pictures in $RUN/predictions"
