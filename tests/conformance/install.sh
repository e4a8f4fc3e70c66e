#!/usr/bin/env bash
# Installs what the conformance tests need, in a virtual environment below target/,
# and writes ONNX's node tests there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
folder=${1:-../../target/conformance}
environment=$folder/environment
mkdir -p "$folder"

if ! cmp -s requirements.txt "$environment/installed.txt"; then
    rm -rf "$environment"
    python=$(command -v python3) || { echo "no python3" >&2; exit 1; }
    if ! "$python" -m venv "$environment" 2>/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
        "$python" -m venv "$environment"
    fi
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    rm -rf "$folder/tests"
    cp requirements.txt "$environment/installed.txt"
fi
if [ ! -f "$folder/tests/complete" ]; then
    rm -rf "$folder/tests"
    "$environment/bin/python" -W ignore export.py "$folder/tests"
    touch "$folder/tests/complete"
fi
