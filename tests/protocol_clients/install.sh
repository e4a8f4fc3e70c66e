#!/usr/bin/env bash
# Installs what the clients of this folder need below target/, where the tests look for it: Python
# packages in a virtual environment, and grpcurl from its Go module.
#
#   install.sh            all of it
#   install.sh python     only the Python packages
#   install.sh grpcurl    only grpcurl
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
environment=../../target/protocol-clients

install_python() {
    if [ -x "$environment/bin/python" ] && "$environment/bin/python" -c 'import grpc, grpc_tools, kserve, numpy, tritonclient.grpc, tritonclient.http' 2>/dev/null; then
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

install_grpcurl() {
    local go program
    program=$(realpath -m "$environment/grpcurl")
    [ -x "$program" ] && return 0
    go=$(PATH="$PATH:/usr/local/go/bin" command -v go) || { echo "no Go" >&2; return 1; }
    (cd grpcurl && "$go" build -trimpath -ldflags="-s -w" -o "$program" github.com/fullstorydev/grpcurl/cmd/grpcurl)
}

case ${1:-all} in
    python) install_python ;;
    grpcurl) install_grpcurl ;;
    all)
        failed=0
        install_python || failed=1
        install_grpcurl || failed=1
        exit $failed
        ;;
    *) echo "usage: install.sh [python|grpcurl]" >&2; exit 64 ;;
esac
