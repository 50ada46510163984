#!/usr/bin/env bash
# Creates .venv beside pyproject.toml and installs Pilotage into it (editable, with the view and dev
# extras, at the versions of constraints.txt). `make venv` calls it; PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
if ! command -v "$python" >/dev/null; then
    echo "error: '$python' was not found; install Python 3.11 or newer, or: make venv PYTHON=<path>" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: Pilotage needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1)." >&2
    echo "       Choose another with: make venv PYTHON=python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: '$python' cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
    exit 1
fi

[[ -x .venv/bin/python ]] || "$python" -m venv .venv
log=.venv/install.log
echo "Installing Pilotage into .venv (the first time 1.5 GB and a few minutes; log: $log)"

# On a terminal one line that counts; elsewhere nothing until the end.
show_progress() {
    if [[ -t 1 ]]; then
        awk '/^ *Collecting/ { n++; printf "\r  %3d packages found: %-40.40s", n, $2; fflush() }
             /^Installing collected/ { printf "\r  installing %d packages %-40s", n, ""; fflush() }
             END { if (n) print "" }'
    else
        cat >/dev/null
    fi
}

start=$SECONDS
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input \
    -c constraints.txt -e '.[view,dev]' 2>&1 | tee "$log" | show_progress; then
    echo "error: the installation failed; the end of $log:" >&2
    tail -n 15 "$log" >&2
    exit 1
fi
touch .venv/.installed
echo "Installed in $((SECONDS - start)) s: $(.venv/bin/python --version), $(
    .venv/bin/python -m pip list --disable-pip-version-check 2>/dev/null | tail -n +3 | wc -l
) packages. Try: make demo"
