# shellcheck shell=bash
# What a cluster has besides its programs: names, volumes, SGX's resources.

volumes=12 # of each way of access: a volume is used once

apply_addons() {
    sed -e "s|@IMAGE@|$coredns_image|" -e "s|@ADDRESS@|$service_dns|" "$manifests/coredns.yaml" |
        kubectl apply -f - >/dev/null || fail "CoreDNS can't be applied"
    kubectl apply -f "$manifests/storage-class.yaml" >/dev/null || fail "the storage class can't be applied"
    local access number name
    for access in ReadWriteOnce ReadWriteOncePod; do
        for number in $(seq 1 "$volumes"); do
            name=$(tr '[:upper:]' '[:lower:]' <<<"$access-$number")
            mkdir -p "$state/volumes/$name"
            echo "---"
            sed -e "s|@NAME@|$name|" -e "s|@ACCESS@|$access|" -e "s|@PATH@|$state/volumes/$name|" \
                -e "s|@NODE@|$node_name|" "$manifests/volume.yaml"
        done
    done | kubectl apply -f - >/dev/null || fail "the volumes can't be applied"
}

# The SGX device plugin's resources, without SGX: pods that ask for them are
# scheduled, and find no device.
advertise_sgx() {
    local node=$1
    kubectl patch node "$node" --subresource status --type merge --patch '{"status": {"capacity": {
        "sgx.intel.com/epc": "64Gi", "sgx.intel.com/enclave": "110", "sgx.intel.com/provision": "110"}}}' >/dev/null
}

sgx_allocatable() {
    local node=$1
    [[ $(kubectl get node "$node" -o 'jsonpath={.status.allocatable.sgx\.intel\.com/epc}') == 64Gi ]]
}

wait_for_sgx() {
    wait_until 30 "the node to offer sgx.intel.com/epc" sgx_allocatable "$1" ||
        fail "the node doesn't offer sgx.intel.com/epc"
}

wait_for_names() {
    kubectl --request-timeout 0 -n kube-system rollout status deployment/coredns --timeout 120s >/dev/null ||
        fail "CoreDNS doesn't become ready: $(kubectl -n kube-system get pods 2>&1 | tail -n 2)"
}
