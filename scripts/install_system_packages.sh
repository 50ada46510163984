#!/usr/bin/env bash
# Installs the Debian packages that parts of Pilotage can use. None is needed to install or to run:
#   chromium   opens the HTML report in a test, as a reader's browser would
# Needs apt-get and root; without them it says what is left out and succeeds.
set -euo pipefail

has_browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

skip() {
    echo "skipped: chromium ($1); the tests that open the report in a browser will be skipped"
    exit 0
}

if has_browser >/dev/null; then
    echo "chromium: $(has_browser | head -n 1)"
    exit 0
fi
command -v apt-get >/dev/null || skip "no apt-get here"
[[ $(id -u) == 0 ]] || skip "not root; run: sudo scripts/install_system_packages.sh"

export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { timeout 60 apt-get update -q &&
    timeout 200 apt-get install -q -y --no-install-recommends chromium; } >"$log" 2>&1 </dev/null
then
    tail -n 5 "$log"
    skip "apt-get failed, see above"
fi
echo "chromium: $(has_browser | head -n 1)"
