#!/usr/bin/env bash
# Puts the library of ONNX Runtime, out of the Python package onnxruntime, and its licences into a
# directory. Its digest must be the one in the file `digests` next to this script.
#
#   library.sh DIRECTORY    prints the library's path
#
# All wheels of a version have the same library, whichever Python they are for.
set -euo pipefail

version=1.32.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:?usage: library.sh DIRECTORY}
name=libonnxruntime.so.$version

fail() {
    echo "library.sh: $*" >&2
    exit 1
}

machine=$(uname -m)
wanted=$(sed -n "s/^$machine //p" "$here/digests")
[[ -n $wanted ]] || fail "no digest of ONNX Runtime $version for $machine is known"

is_wanted() {
    [[ -f $1 ]] && [[ $(sha256sum "$1" | cut -d' ' -f1) == "$wanted" ]]
}

mkdir -p "$out"
if ! is_wanted "$out/$name"; then
    python=$(command -v python3) || fail "no python3, whose pip fetches the package"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv "$work/venv" >/dev/null || fail "neither pip nor venv: install python3-venv"
        python=$work/venv/bin/python
    fi
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --implementation cp --python-version 3.12 --abi cp312 --platform "manylinux_2_28_$machine" \
        --dest "$work" "onnxruntime==$version" >&2
    "$python" -m zipfile -e "$work"/*.whl "$work/wheel"
    is_wanted "$work/wheel/onnxruntime/capi/$name" ||
        fail "the library has the digest $(sha256sum "$work/wheel/onnxruntime/capi/$name" | cut -d' ' -f1)," \
            "expected $wanted"
    install -m 0755 "$work/wheel/onnxruntime/capi/$name" "$out/$name"
    install -m 0644 "$work/wheel/onnxruntime/LICENSE" "$work/wheel/onnxruntime/ThirdPartyNotices.txt" "$out/"
fi
echo "$(cd "$out" && pwd)/$name"
