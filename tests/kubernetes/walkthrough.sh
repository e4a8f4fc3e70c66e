#!/usr/bin/env bash
# The reference deployment's walkthrough, done with our images on a real cluster,
# and what a cluster does to a service besides: scaling, restarts, kills, and an
# administrator who reads everything. A line a check; ends with 1 at the first
# that fails. See README.md and docs/kubernetes.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=walkthrough/check.sh
source "$here/walkthrough/check.sh"
# shellcheck source=walkthrough/deploy.sh
source "$here/walkthrough/deploy.sh"
# shellcheck source=walkthrough/requests.sh
source "$here/walkthrough/requests.sh"
# shellcheck source=walkthrough/scaling.sh
source "$here/walkthrough/scaling.sh"
# shellcheck source=walkthrough/disruptions.sh
source "$here/walkthrough/disruptions.sh"
# shellcheck source=walkthrough/impostors.sh
source "$here/walkthrough/impostors.sh"
# shellcheck source=walkthrough/network.sh
source "$here/walkthrough/network.sh"
# shellcheck source=walkthrough/secrets.sh
source "$here/walkthrough/secrets.sh"
# shellcheck source=walkthrough/sidecar.sh
source "$here/walkthrough/sidecar.sh"
# shellcheck source=walkthrough/chart.sh
source "$here/walkthrough/chart.sh"
# shellcheck source=walkthrough/page.sh
source "$here/walkthrough/page.sh"

usage() {
    cat <<'END_OF_USAGE'
Do the reference's walkthrough on a real cluster, and test what follows.
usage: walkthrough.sh [OPTION]... [PART]...
    -b <directory> archives that deploy/build.sh -s -o wrote (default: build them)
    -d <directory> the owner's directory that they were built with
    -k keep the cluster up in the end
    -q quick: what is measured is measured once
    -h usage help
parts, in this order (default: all; basics always):
    basics        deploy, the two log lines, predict, benchmark
    scaling       three replicas against one
    starting      how fast replicas start, and clients find them
    disruptions   rolling restart, kills, a kubelet's restart under load
    impostors     programs that are not the measured ones
    network       what the network policies let through
    sidecar       the data owner's proxy next to an unmodified client
    secrets       what a cluster administrator can read
    chart         the same by Helm, with a HorizontalPodAutoscaler
    page          the commands of README.md and of pages, as they are printed
END_OF_USAGE
}

archives='' owner=$root/target/walkthrough/owner keep='' quick='' namespace=adytum
tag=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | sed -n 1p)
while getopts 'b:d:kqh' option; do
    case $option in
        b) archives=$(realpath "$OPTARG") ;;
        d) owner=$(realpath -m "$OPTARG") ;;
        k) keep=yes ;;
        q) quick=1 ;;
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
shift $((OPTIND - 1))
all=(basics scaling starting disruptions impostors network sidecar secrets chart page)
parts=("${@:-${all[@]}}")
[[ ${parts[0]} == basics ]] || parts=(basics "${parts[@]}")
for part in "${parts[@]}"; do
    [[ " ${all[*]} " == *" $part "* ]] || {
        echo "walkthrough.sh: there is no part '$part'" >&2
        usage >&2
        exit 2
    }
done

work=$(mktemp -d)
# The output of everything that runs in the background, and the names of what to end.
beside=()
end() {
    local process
    for process in "${beside[@]}"; do kill "$process" 2>/dev/null || true; done
    rm -rf "$work"
    [[ -n $keep ]] || "$here/cluster.sh" down
}
trap end EXIT

build_images
bring_up
deploy
for part in "${parts[@]}"; do
    echo "== $part"
    "part_$part"
done
echo
[[ ! -s $work/figures ]] || cat "$work/figures"
echo "$passed passed, 0 failed"
