#!/usr/bin/env bash
# Installs the object stores of this folder below target/, where the tests look for them: moto's S3
# and WsgiDAV in a virtual environment of Python, and Azurite for Node.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
environment=../../target/object-stores

azurite=../../target/azurite
version=3.35.0

install_python() {
    if [ -x "$environment/bin/python" ] && "$environment/bin/python" -c 'import cheroot, moto.server, wsgidav' 2>/dev/null; then
        return 0
    fi
    local python
    python=$(command -v python3) || { echo "no python3" >&2; return 1; }
    if ! "$python" -m venv "$environment" 2>/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
        "$python" -m venv "$environment"
    fi
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
}

install_azurite() {
    [ -f "$azurite/node_modules/azurite/dist/src/blob/main.js" ] && return 0
    if ! command -v npm >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm
    fi
    mkdir -p "$azurite"
    npm install --silent --no-audit --no-fund --omit=dev --ignore-scripts --prefix "$azurite" "azurite@$version"
}

failed=0
install_python || failed=1
install_azurite || failed=1
exit $failed
