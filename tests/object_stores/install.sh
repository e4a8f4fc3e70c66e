#!/usr/bin/env bash
# Installs the object stores of this folder in a virtual environment below target/, where the tests
# look for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
environment=../../target/object-stores

if [ -x "$environment/bin/python" ] && "$environment/bin/python" -c 'import cheroot, moto.server, wsgidav' 2>/dev/null; then
    exit 0
fi
python=$(command -v python3) || { echo "no python3" >&2; exit 1; }
if ! "$python" -m venv "$environment" 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
    "$python" -m venv "$environment"
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
