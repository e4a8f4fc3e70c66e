#!/usr/bin/env bash
# Installs what blocks of pages and the examples use besides our programs: Python with scikit-learn and
# gRPC in a virtual environment below target/, and redis, nginx, node, Go from Debian where they are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
environment=../../target/pages

install_python() {
    if [[ -x $environment/bin/python ]] && "$environment/bin/python" -c 'import grpc, grpc_tools, skl2onnx, sklearn' 2>/dev/null; then
        return 0
    fi
    if ! python3 -m venv "$environment" 2>/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv
        python3 -m venv "$environment"
    fi
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
}

# package COMMAND PACKAGE
install_package() {
    PATH=$PATH:/usr/sbin:/usr/local/go/bin command -v "$1" >/dev/null && return
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"
    # Debian starts some servers when they are installed; none is needed.
    ! command -v service >/dev/null || service "$2" stop >/dev/null 2>&1 || true
}

failed=0
install_python || failed=1
install_package curl curl || failed=1
install_package node nodejs || failed=1
install_package go golang-go || failed=1
install_package nginx nginx-light || failed=1
install_package redis-server redis-server || failed=1
exit $failed
