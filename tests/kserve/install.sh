#!/usr/bin/env bash
# Fetches the schemas of KServe's objects by its Go module, and what checks YAML against them, into
# target/kserve, where the test looks for them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=v0.15.2
target=../../target/kserve
kinds=(servingruntimes clusterservingruntimes inferenceservices)

if [ ! -f "$target/$version/inferenceservices.yaml" ]; then
    command -v go >/dev/null || { echo "no go" >&2; exit 1; }
    # Not in our go.mod, since there is none: the module is only downloaded.
    module=$(cd / && go mod download -json "github.com/kserve/kserve@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    mkdir -p "$target/$version"
    for kind in "${kinds[@]}"; do
        install -m 0644 "$module/config/crd/full/serving.kserve.io_$kind.yaml" "$target/$version/$kind.yaml"
    done
    ln -sfn "$version" "$target/schemas"
fi
environment=$target/environment
if [ -x "$environment/bin/python" ] && "$environment/bin/python" -c 'import jsonschema, yaml' 2>/dev/null; then
    exit 0
fi
python=$(command -v python3) || { echo "no python3" >&2; exit 1; }
if ! "$python" -m venv "$environment" 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
    "$python" -m venv "$environment"
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
