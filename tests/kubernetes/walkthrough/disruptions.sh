# shellcheck shell=bash
# What a cluster does to a service, under load: no request may fail beyond the
# client's documented repeats (adytum_client::REPEATS). Sourced by walkthrough.sh.

part_disruptions() {
    check "three replicas" replicas 3
    check "a rolling restart fails no request" undisturbed 40s restart_rolling
    check "a pod that is deleted at once fails no request" undisturbed 30s kill_pod
    check "a replica that is killed with SIGKILL fails no request" undisturbed 30s kill_replica
    check "a broker that is killed fails no request, and waits for its owner" undisturbed 30s kill_broker
    check "the owner confirms the broker's state" confirm
    check "a kubelet that is restarted fails no request" undisturbed 40s restart_kubelet
    check "a broker that ends in good order fails no request" undisturbed 30s replace_broker
    check "ready and serving in the end" rolled_out
}

# undisturbed TIME ACTION: under load from before to after the action.
undisturbed() {
    load "$work/disturbed" --cnum 6 --duration "$1" 2>"$work/disturbed.error" &
    local loading=$!
    beside+=("$loading")
    sleep 3
    "$2" || return
    if ! wait "$loading"; then
        cat "$work/disturbed" "$work/disturbed.error"
        return 1
    fi
    local failed
    failed=$(of "$work/disturbed" failed)
    figure "${2//_/ }: answered, failed, sent anew" \
        "$(of "$work/disturbed" answered), $failed, $(of "$work/disturbed" repeated)"
    [[ $failed == 0 ]]
}

restart_rolling() {
    kubectl rollout restart deployment/tf-demo-deployment >/dev/null && rolled_out
}

kill_pod() {
    kubectl delete pod "$(newest_pod tf-demo)" --grace-period=0 --force >/dev/null 2>&1
    eventually 60 pods_are 3 && rolled_out
}

# kill_process APP PROGRAM: with SIGKILL, as a node's out-of-memory killer does. Only a
# process of that very pod: there may be others of this name on the machine.
kill_process() {
    local pod process
    pod=$(kubectl get pod "$(newest_pod "$1")" -o 'jsonpath={.metadata.uid}')
    for process in $(pgrep -f "^/usr/bin/$2 "); do
        if grep -qF "pod$pod" "/proc/$process/cgroup"; then
            kill -KILL "$process"
            return
        fi
    done
    echo "there is no process $2 of pod $pod" >&2
    return 1
}

restarts_of() { kubectl get pod "$(newest_pod "$1")" -o 'jsonpath={.status.containerStatuses[0].restartCount}'; }
restarted_since() { [[ $(restarts_of "$1") -gt $2 ]]; }

kill_replica() {
    local before
    before=$(restarts_of tf-demo)
    kill_process tf-demo adytum-serving && eventually 60 restarted_since tf-demo "$before" && rolled_out
}

kill_broker() {
    local before
    before=$(restarts_of init-ra-server)
    kill_process init-ra-server adytum-broker && eventually 60 restarted_since init-ra-server "$before" &&
        eventually 60 logged init-ra-server "Server listening on"
}

restart_kubelet() { "$here/cluster.sh" kubelet-restart; }

# An unplanned end may be a host's that put an older state back: see docs/restart.md.
confirm() {
    eventually 30 logged init-ra-server awaiting-confirmation || return
    "$root/deploy/provision.sh" -s -d "$owner" -n "$namespace" -a "$programs/adytum" -y
}

# Its successor has the same state, and nobody need confirm it.
replace_broker() {
    local before
    before=$(newest_pod init-ra-server)
    kubectl delete pod "$before" >/dev/null && eventually 60 another_broker "$before" &&
        kubectl wait --for=condition=Ready "pod/$(newest_pod init-ra-server)" --timeout 60s >/dev/null
}
another_broker() { [[ $(newest_pod init-ra-server) != "$1" ]] && logged init-ra-server "Server listening on"; }
