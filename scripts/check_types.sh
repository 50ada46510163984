#!/usr/bin/env bash
# Type-checks the packages with mypy. The folders are mapped into the package `pilotage` by
# pyproject.toml, which mypy does not read, so a tree of symbolic links shows it the same picture.
# Arguments are folders (default: all); e.g. scripts/check_types.sh steering agents
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folders=(episodes envs planners steering agents viewers scripts)
rm -rf .typing
mkdir -p .typing/pilotage
for folder in "${folders[@]}" assets; do
    ln -s "../../$folder" ".typing/pilotage/$folder"
done
if (($#)); then folders=("$@"); fi

MYPYPATH=.typing .venv/bin/python -m mypy "${folders[@]/#/-ppilotage.}" \
    | sed 's|^\.typing/pilotage/||' # the real paths
