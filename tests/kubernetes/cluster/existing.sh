# shellcheck shell=bash
# The actions for a cluster that someone else brought up: ADYTUM_KUBECONFIG names
# it. Nothing of it is started, stopped or loaded.

existing_kubectl() {
    command -v kubectl >/dev/null || fail "kubectl isn't installed; it is needed with ADYTUM_KUBECONFIG"
    command kubectl --kubeconfig "$ADYTUM_KUBECONFIG" --request-timeout 20s "$@"
}

existing_up() {
    [[ -r $ADYTUM_KUBECONFIG ]] || fail "ADYTUM_KUBECONFIG is $ADYTUM_KUBECONFIG, which can't be read"
    existing_kubectl get --raw /readyz >/dev/null || fail "the cluster of $ADYTUM_KUBECONFIG doesn't answer"
    existing_environment
}

existing_down() { say "the cluster of $ADYTUM_KUBECONFIG isn't ours: left as it is"; }

existing_status() { existing_kubectl get nodes -o wide; }

existing_environment() {
    local address
    address=$(existing_kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
    printf 'export KUBECONFIG=%q\n' "$(realpath "$ADYTUM_KUBECONFIG")"
    printf 'export ADYTUM_NODE_ADDRESS=%q\n' "$address"
}

existing_images_load() {
    fail "images can't be loaded into a cluster that isn't ours: push them to its registry (deploy/build.sh -r)"
}

existing_run() { "$@"; }

existing_kubelet_restart() { fail "the kubelet of a cluster that isn't ours isn't restarted"; }

existing_usage() { fail "the CPU use of a cluster that isn't ours isn't known"; }
