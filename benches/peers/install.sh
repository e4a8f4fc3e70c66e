#!/usr/bin/env bash
# Installs the model servers and engines that ours are compared with, into target/peers: one environment each,
# since they want different versions of the same packages. One that can't be installed is named,
# and the benchmark leaves it out.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=../../target/peers
# Triton's interpreter is linked with the system's, and wants its modules.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || { echo "no python3" >&2; exit 1; }
if ! "$python" -m venv --help >/dev/null 2>&1 || ! "$python" -c 'import ensurepip' 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
fi
mkdir -p "$target"
for peer in mlserver kserve pytriton engine; do
    environment=$target/$peer
    if cmp -s "$peer.txt" "$environment/installed.txt"; then
        continue
    fi
    rm -rf "$environment"
    if "$python" -m venv "$environment" &&
        "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$peer.txt"; then
        cp "$peer.txt" "$environment/installed.txt"
    else
        echo "$peer can't be installed here" >&2
        rm -rf "$environment"
    fi
done
