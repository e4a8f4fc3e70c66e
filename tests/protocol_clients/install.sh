#!/usr/bin/env bash
# Installs what the clients of this folder need, in a virtual environment below target/, where the
# tests look for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
environment=../../target/protocol-clients

if [ -x "$environment/bin/python" ] && "$environment/bin/python" -c 'import grpc, grpc_tools, kserve, numpy, tritonclient.grpc, tritonclient.http' 2>/dev/null; then
    exit 0
fi
python=$(command -v python3) || { echo "no python3" >&2; exit 1; }
if ! "$python" -m venv "$environment" 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
    "$python" -m venv "$environment"
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
