# shellcheck shell=bash
# The actions for a cluster that kind brings up.

kind_cluster=adytum-$instance
kind_node=$kind_cluster-control-plane

kind_usable() {
    command -v kind >/dev/null && kind_engine >/dev/null
}

# The container engine that answers: docker or podman.
kind_engine() {
    local engine
    for engine in docker podman; do
        if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
            echo "$engine"
            return
        fi
    done
    return 1
}

kind_command() {
    local engine
    engine=$(kind_engine) || fail "kind needs docker or podman, and neither answers"
    KIND_EXPERIMENTAL_PROVIDER=$engine command kind "$@"
}

kind_file() { echo "$cache/$kind_cluster.kubeconfig"; }

kubectl_of_kind() {
    command -v kubectl >/dev/null || fail "kubectl isn't installed; kind needs it"
    command kubectl --kubeconfig "$(kind_file)" --request-timeout 20s "$@"
}

kind_up() {
    mkdir -p "$cache"
    if kind_command get clusters 2>/dev/null | grep -x "$kind_cluster" >/dev/null; then
        say "already up"
    else
        kind_command create cluster --name "$kind_cluster" --kubeconfig "$(kind_file)" --wait 120s >&2
    fi
    kind_advertise
    kind_environment
}

kind_advertise() {
    kubectl() { kubectl_of_kind "$@"; }
    advertise_sgx "$kind_node"
    wait_for_sgx "$kind_node"
}

kind_down() {
    kind_command delete cluster --name "$kind_cluster" --kubeconfig "$(kind_file)" >&2
    rm -f "$(kind_file)" "$(kind_file).lock"
}

kind_status() { kubectl_of_kind get nodes,pods -A -o wide; }

kind_environment() {
    local address
    address=$(kubectl_of_kind get node "$kind_node" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
    printf 'export KUBECONFIG=%q\n' "$(kind_file)"
    printf 'export ADYTUM_NODE_ADDRESS=%q\n' "$address"
}

kind_images_load() {
    local archive
    for archive in "$@"; do
        kind_command load image-archive "$archive" --name "$kind_cluster"
    done
}

# The node's localhost is its container's: run with that container's network.
kind_run() {
    local engine holder
    engine=$(kind_engine) || fail "neither docker nor podman answers"
    holder=$("$engine" inspect --format '{{.State.Pid}}' "$kind_node")
    nsenter --target "$holder" --net -- "$@"
}

kind_kubelet_restart() {
    local engine
    engine=$(kind_engine) || fail "neither docker nor podman answers"
    "$engine" exec "$kind_node" systemctl kill --signal KILL kubelet
    "$engine" exec "$kind_node" systemctl start kubelet
    kubectl_of_kind wait --for condition=Ready "node/$kind_node" --timeout 60s >/dev/null
    kind_advertise
}

kind_usage() { fail "the CPU use of kind's control plane isn't known apart from its pods'"; }
