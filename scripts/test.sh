#!/usr/bin/env bash
# Makes a virtual environment for each stack, checks the style once, and runs the tests on both stacks side by side.
#
#   bash scripts/test.sh                          what CI runs, which has what takes minutes on one stack only: trainings
#                                                 in several processes on the first, the notebooks on the last
#   bash scripts/test.sh --all                    everything on every stack, also what is marked `long`, and coverage
#   bash scripts/test.sh tests/ops -m "not slow"  arguments for pytest
#   STACKS=keras3 bash scripts/test.sh            one stack
#   PYTHON=/path/to/python3.11 bash scripts/test.sh
#
# Environments are kept in .venvs/ and made again only when their requirements (or Python) changed.
# All checks run even where an early one fails; the exit status is non-zero if any failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MIN_COVERAGE=90
LONGEST_MINUTES=75  # of one stack's tests, which take about 20: room for a machine that is much slower, and an end to hangs
ALL=
[ "${1:-}" != --all ] || { ALL=yes; shift; }
[ -z "$ALL" ] || LONGEST_MINUTES=240
STACKS=${STACKS:-addons keras3}
FAILED=()

# Settings of the caller's shell must not decide what is tested.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONWARNINGS
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=Agg KERAS_BACKEND=tensorflow
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export PIP_DISABLE_PIP_VERSION_CHECK=1

die() { echo "scripts/test.sh: $*" >&2; exit 1; }

requirements_of() {
    case $1 in
        addons) echo requirements.txt ;;
        keras3) echo requirements-keras3.txt ;;
        *) die "STACKS names an unknown stack '$1'; use 'addons', 'keras3' or both." ;;
    esac
}

find_python() {
    local candidate candidates=(python3.11 python3.10 python3)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        # A name may be on the path and still not run (a version manager's stand-in), so run it.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    die "no Python 3.9 or newer runs as any of: ${candidates[*]}; install Python 3.11 or set PYTHON to it."
}

check_python() {
    local stack version
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$PYTHON cannot make virtual environments; on Debian install them with 'apt-get install python3-venv'."
    version=$("$PYTHON" -c 'import sys; print(sys.version_info[0] * 100 + sys.version_info[1])')
    for stack in $STACKS; do
        requirements_of "$stack" >/dev/null
        if [ "$stack" = addons ] && [ "$version" -ge 312 ]; then
            die "the addons stack needs Python 3.9 to 3.11; set PYTHON to one, or set STACKS=keras3."
        elif [ "$stack" = keras3 ] && [ "$version" -lt 310 ]; then
            die "the keras3 stack needs Python 3.10 or newer; set PYTHON to one, or set STACKS=addons."
        fi
    done
}

# What an environment was made from. The folder counts, because an environment does not survive a move.
stamp_of() {
    { "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'; pwd; cat "$@"; } | sha256sum
}

make_environment() {
    local stack=$1 folder=.venvs/$1 requirements stamp
    requirements=$(requirements_of "$stack")
    stamp=$(stamp_of "$requirements")
    if [ "$(cat "$folder/requirements.stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "== $stack: installing $requirements into $folder"
        rm -rf "$folder"
        "$PYTHON" -m venv "$folder"
        "$folder/bin/python" -m pip install --quiet -r "$requirements"
        echo "$stamp" >"$folder/requirements.stamp"
    fi
    # The package itself: again only when what decides about its metadata changed. No build isolation:
    # setuptools and wheel are among the pins, so nothing unpinned is fetched.
    stamp=$(stamp_of "$requirements" setup.cfg pyproject.toml)
    if [ "$(cat "$folder/package.stamp" 2>/dev/null)" != "$stamp" ]; then
        "$folder/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
        "$folder/bin/python" -m pip check
        echo "$stamp" >"$folder/package.stamp"
    fi
}

# run NAME COMMAND...: runs a check and says how long it took; fails as the check does.
run() {
    local name=$1 start=$SECONDS status=0
    shift
    echo "== $name"
    "$@" || status=$?
    echo "== $name: $([ $status = 0 ] && echo passed || echo "FAILED (exit status $status)") in $((SECONDS - start)) s"
    return $status
}

check_style() {
    local bin=.venvs/$1/bin status=0
    "$bin/python" -m ruff check . || status=1
    "$bin/codespell" || status=1
    return $status
}

run_tests() {
    local stack=$1
    shift
    # The properties' examples are the same in every run here, so that what has passed does not fail by chance; plain
    # pytest draws new ones.
    local options=(--durations=60 --hypothesis-profile=ci)
    if [ -z "$ALL" ] && [ $# = 0 ]; then
        [ "$stack" = "${STACKS%% *}" ] && options+=(-m "not long") || options+=(-m "not long and not processes")
    fi
    # Measuring coverage takes a quarter of the time, so it is part of --all.
    [ -z "$ALL" ] || options+=(--cov=keras_mrcnn --cov-report=term --cov-fail-under="$MIN_COVERAGE")
    COVERAGE_FILE="$PWD/.coverage.$stack" timeout --kill-after=30s "${LONGEST_MINUTES}m" \
        ".venvs/$stack/bin/python" -m pytest "${options[@]}" "$@"
}

run_notebooks() {
    ".venvs/$1/bin/python" -m pytest --nbmake --nbmake-timeout=900 --durations=7 -p no:cacheprovider notebooks
}

# All of one stack: its environment, its tests and, unless arguments choose a part of the tests, the notebooks.
run_stack() {
    local stack=$1 status=0
    shift
    make_environment "$stack"
    run "tests on $stack" run_tests "$stack" "$@" || status=1
    if [ $# = 0 ] && { [ -n "$ALL" ] || [ "$stack" = "${STACKS##* }" ]; }; then
        run "notebooks on $stack" run_notebooks "$stack" || status=1
    fi
    return $status
}

PYTHON=$(find_python)
check_python
LOGS=$(mktemp -d)
declare -A JOBS
trap 'rm -rf "$LOGS"' EXIT
# Side by side, since neither stack keeps two cores busy by itself; each into a file, so that they can be read.
for stack in $STACKS; do
    run_stack "$stack" "$@" >"$LOGS/$stack" 2>&1 &
    JOBS[$stack]=$!
    echo "== $stack: running, its output follows when it ends"
done
for stack in $STACKS; do
    wait "${JOBS[$stack]}" || FAILED+=("$stack")
    cat "$LOGS/$stack"
done
run "style (ruff, codespell)" check_style "${STACKS%% *}" || FAILED+=("style")

echo "== total: $SECONDS s"
if [ ${#FAILED[@]} -gt 0 ]; then
    printf '== FAILED: %s\n' "${FAILED[@]}"
    exit 1
fi
echo "== all passed"
