#!/usr/bin/env bash
# A Kubernetes cluster for tests: one that a variable names, kind's, or one node of our
# own. See README.md.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cluster/places.sh
source "$here/cluster/places.sh"
# shellcheck source=cluster/say.sh
source "$here/cluster/say.sh"
# shellcheck source=cluster/cgroups.sh
source "$here/cluster/cgroups.sh"
# shellcheck source=cluster/node.sh
source "$here/cluster/node.sh"
# shellcheck source=cluster/network.sh
source "$here/cluster/network.sh"
# shellcheck source=cluster/packages.sh
source "$here/cluster/packages.sh"
# shellcheck source=cluster/components.sh
source "$here/cluster/components.sh"
# shellcheck source=cluster/images.sh
source "$here/cluster/images.sh"
# shellcheck source=cluster/control_plane.sh
source "$here/cluster/control_plane.sh"
# shellcheck source=cluster/runtime.sh
source "$here/cluster/runtime.sh"
# shellcheck source=cluster/addons.sh
source "$here/cluster/addons.sh"
# shellcheck source=cluster/policies.sh
source "$here/cluster/policies.sh"
# shellcheck source=cluster/metrics.sh
source "$here/cluster/metrics.sh"
# shellcheck source=cluster/own.sh
source "$here/cluster/own.sh"
# shellcheck source=cluster/kind.sh
source "$here/cluster/kind.sh"
# shellcheck source=cluster/existing.sh
source "$here/cluster/existing.sh"

help() {
    cat <<'END'
cluster.sh: a Kubernetes cluster for tests

    cluster.sh up                    bring a cluster up (or find that it is up)
    cluster.sh down                  stop it and remove all that it left
    cluster.sh status                what runs; exit code 0 if the cluster answers
    cluster.sh environment           lines for a shell: KUBECONFIG, PATH with kubectl
    cluster.sh images-load FILE...   load image archives (docker save, OCI) into the node
    cluster.sh run -- COMMAND...     run a command where the node's ports are on localhost,
                                     as `docker run --network host` does on a real node
    cluster.sh kubelet-restart       end the kubelet at once and start it again
    cluster.sh usage                 CPU seconds of the control plane and of the pods so far
    cluster.sh build                 only build (or find) the programs; no root needed
    cluster.sh help

Which cluster:
    ADYTUM_KUBECONFIG=FILE   use the cluster of this kubeconfig; nothing is started or stopped
    ADYTUM_CLUSTER=kind|own  insist on kind, or on a node of our own
    otherwise                kind, if it is installed and a container engine runs;
                             else a node of our own (needs root)

Where things are:
    ADYTUM_CLUSTER_STATE     state of the node: certificates, etcd, images, logs
                             (default: a folder in TMPDIR named after this checkout)
    ADYTUM_CLUSTER_CACHE     built programs (default: ~/.cache/adytum-kubernetes)
END
}

# One of: existing, kind, own.
which_cluster() {
    if [[ -n ${ADYTUM_KUBECONFIG:-} ]]; then
        echo existing
    elif [[ -n ${ADYTUM_CLUSTER:-} ]]; then
        case $ADYTUM_CLUSTER in
            kind | own) echo "$ADYTUM_CLUSTER" ;;
            *) fail "ADYTUM_CLUSTER is '$ADYTUM_CLUSTER'; it may be 'kind' or 'own'" ;;
        esac
    elif own_exists; then
        echo own
    elif kind_usable; then
        echo kind
    else
        echo own
    fi
}

main() {
    local action=${1:-help}
    shift || true
    case $action in
        up | down | status | environment | kubelet-restart | usage | build)
            (($# == 0)) || fail "'$action' takes no arguments, got: $*"
            ;;
        images-load)
            (($# > 0)) || fail "'images-load' needs at least one image archive"
            ;;
        run)
            [[ ${1:-} != -- ]] || shift
            (($# > 0)) || fail "'run' needs a command"
            ;;
        help | -h | --help)
            help
            return
            ;;
        *)
            help >&2
            fail "no such action: '$action'"
            ;;
    esac
    if [[ $action == build ]]; then
        build_components
        return
    fi
    local cluster
    cluster=$(which_cluster)
    "${cluster}_${action//-/_}" "$@"
}

main "$@"
