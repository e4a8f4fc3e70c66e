# shellcheck shell=bash
# A cluster administrator reads everything: objects, logs, images, volumes, the
# cluster's own database. Sourced by walkthrough.sh.

part_secrets() {
    check "everything that an administrator can read is gathered" gathered
    check "no secret and no plain model is in any of it" nothing_found
    check "the search finds what is there" search_finds
}

gathered() {
    local all=$work/gathered kind pod
    mkdir -p "$all/objects" "$all/logs"
    # The Secret adytum-sim-platform is the listed exception: the keys of the
    # simulated platform itself. The search is for the owner's secrets.
    for kind in $(kubectl api-resources --verbs=list -o name); do
        kubectl get "$kind" --all-namespaces -o yaml >"$all/objects/$kind.yaml" 2>/dev/null || true
    done
    for pod in $(kubectl get pods -o name); do
        kubectl logs "$pod" --all-containers >"$all/logs/${pod#pod/}.log" 2>/dev/null || true
        kubectl logs "$pod" --all-containers --previous >"$all/logs/${pod#pod/}.previous.log" 2>/dev/null || true
    done
    kubectl describe all --all-namespaces >"$all/objects/described.txt" || return
    # On a node of our own: all of its files, its database included.
    if [[ -n ${ADYTUM_CLUSTER_FILES:-} ]]; then
        mkdir -p "$all/node"
        local place
        for place in etcd kubelet volumes pod-logs logs; do
            [[ ! -d $ADYTUM_CLUSTER_FILES/$place ]] ||
                cp -r --no-preserve=mode,ownership "$ADYTUM_CLUSTER_FILES/$place" "$all/node/" 2>/dev/null || true
        done
        # Only sockets and mounts can't be copied; these two must be there.
        [[ -n $(find "$all/node/etcd" -name db -size +0) && -n $(find "$all/node/volumes" -name store.redb -size +0) ]] ||
            return
    fi
    [[ $(find "$all/objects" -type f -size +0 | wc -l) -ge 10 && $(find "$all/logs" -type f -size +0 | wc -l) -ge 3 ]]
}

# The owner's secrets without the simulated platform.
owners_secrets() {
    mkdir -p "$work/owned"
    cp -r "$owner/private/secrets" "$owner/private/owner.pem" "$work/owned/"
}

searched() {
    (cd "$root" && cargo xtask image search --secrets "$work/owned" --model "$owner/plain/resnet.onnx" \
        --model "$owner/plain/digits.onnx" "$@")
}

nothing_found() {
    owners_secrets
    searched "$work/gathered" "$archives"/*.tar
}

# A search that finds nothing anywhere would prove nothing.
search_finds() {
    mkdir -p "$work/planted"
    base64 -w0 "$owner/private/secrets/model_key" >"$work/planted/leak.txt"
    ! searched "$work/planted" >/dev/null 2>&1
}
