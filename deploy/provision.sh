#!/usr/bin/env bash
# Verifies the broker in the cluster and gives it manifest and secrets over an
# attested session. The cluster carries encrypted bytes only: the port that is
# forwarded ends in the broker's TEE, and the broker proves that before anything
# is sent.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'END'
Verify the broker in a cluster and give it an owner's manifest and secrets.
usage: provision.sh [OPTION]...
    -d <directory> the owner's directory (default: deploy/owner)
    -n <namespace> the broker's namespace (default: kubectl's)
    -b <service> the broker's Service (default: init-ra-server-svc)
    -a <file> the adytum command (default: the one that build.sh built)
    -c <url or directory> where to get collateral (default with -s: the simulated platform's)
    -m <file> where the highest state seen of each broker is remembered (default: where all of adytum's commands do)
    -r upload secrets that have a value already, too
    -y confirm that the broker's state is the newest, after an unplanned restart
    -s trust the owner's simulated platform, which protects nothing
    -h usage help
END
}

owner=$here/owner adytum='' service=init-ra-server-svc options=() kubectl=(kubectl) simulation=''
while getopts 'd:n:b:a:c:m:rysh' option; do
    case $option in
        d) owner=$OPTARG ;;
        n) kubectl+=(--namespace "$OPTARG") ;;
        b) service=$OPTARG ;;
        a) adytum=$OPTARG ;;
        c) options+=(--collateral "$OPTARG") ;;
        m) options+=(--heads "$OPTARG") ;;
        r) options+=(--replace) ;;
        y) options+=(--confirm) ;;
        s) simulation=yes ;;
        h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done

if [[ -z $adytum ]]; then
    adytum=${CARGO_TARGET_DIR:-$(dirname "$here")/target}/images/bin/${simulation:+simulation}
    [[ -n $simulation ]] || adytum+=production
    adytum+=/adytum
fi
if [[ ! -x $adytum ]]; then
    echo "provision.sh: $adytum is not there: build it with build.sh, or name it with -a" >&2
    exit 1
fi
if [[ -n $simulation ]]; then
    # Its collateral lies next to its root, and is renewed when it is due.
    options+=(--trust-simulation "$("$adytum" simulation root "$owner/private/platform")")
fi

# A port that the system picks, on this machine only.
said=$(mktemp)
"${kubectl[@]}" port-forward --address 127.0.0.1 "service/$service" :5000 >"$said" 2>&1 &
forwarder=$!
trap 'kill "$forwarder" 2>/dev/null || true; rm -f "$said"' EXIT
port=''
for _ in $(seq 150); do
    port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$said" | sed -n 1p)
    [[ -z $port ]] || break
    kill -0 "$forwarder" 2>/dev/null || break
    sleep 0.2
done
if [[ -z $port ]]; then
    cat "$said" >&2
    echo "provision.sh: the broker's port can't be forwarded; does its pod run?" >&2
    exit 1
fi
"$adytum" provision --owner-directory "$owner" --broker "localhost:$port" "${options[@]}"
