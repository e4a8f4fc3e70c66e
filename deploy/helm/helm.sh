#!/usr/bin/env bash
# Helm: the one that is installed, or one compiled from its Go module, once.
set -euo pipefail

version=v3.21.4

# A caller's function of this name would call this script again.
unset -f helm

if command -v helm >/dev/null; then
    exec helm "$@"
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/adytum-helm/$version
if [[ ! -x $cache/helm ]]; then
    command -v go >/dev/null || {
        echo "helm.sh: neither helm nor go is here; install one of them" >&2
        exit 1
    }
    GOBIN=$cache GOFLAGS=-trimpath go install "helm.sh/helm/v3/cmd/helm@$version" >&2
fi
exec "$cache/helm" "$@"
