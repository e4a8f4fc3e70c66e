# shellcheck shell=bash
# Requests from the client image, and load. Sourced by walkthrough.sh.

# client NAME COMMAND...: what `docker run --rm --network host IMAGE COMMAND...` is
# on a node. Its output is its log: who attaches to a short program can come too late.
client() {
    local name=$1 ended=1
    shift
    kubectl run "$name" --image "demo/tf_demo_client:$tag" --image-pull-policy IfNotPresent --restart Never --quiet \
        --overrides '{"spec": {"hostNetwork": true, "automountServiceAccountToken": false}}' \
        --command -- "$@" >/dev/null || return 1
    eventually 120 client_ended "$name" && kubectl logs "$name" && ended=0
    [[ $(phase "$name") == Succeeded ]] || ended=1
    kubectl delete pod "$name" --wait=false >/dev/null
    eventually 60 absent "$name" || ended=1
    return $ended
}

phase() { kubectl get pod "$1" -o jsonpath='{.status.phase}'; }
client_ended() { [[ $(phase "$1") =~ ^(Succeeded|Failed)$ ]]; }
absent() { [[ -z $(kubectl get pod "$1" --ignore-not-found -o name) ]]; }

classifies() {
    local answer
    answer=$(client predict python3 resnet_client_grpc.py --server=localhost:31001 --crt server.crt --image cat.jpg) || {
        echo "$answer"
        return 1
    }
    sed 's/^/    /' <<<"$answer"
    grep -q '^Prediction class: ' <<<"$answer" && grep -q '^Probability: ' <<<"$answer"
}

benchmark() {
    local answer
    answer=$(client benchmark python3 benchmark.py --server localhost:31001 --crt server.crt --cnum 4 --loop 10 --image cat.jpg) || {
        echo "$answer"
        return 1
    }
    sed -n '/^summary/s/^/    /p' <<<"$answer"
    [[ $(grep -cE '^query: secure channel, task [0-9]+, loop_idx [0-9]+, latency\(ms\) [0-9.]+, tps: ' <<<"$answer") == 40 ]] &&
        grep -qE '^summary: cnum 4, e2e time\(s\) [0-9.]+, average latency\(ms\) [0-9.]+, tps: ' <<<"$answer"
}

stranger_refused() {
    "$programs/adytum" ssl-config new --host=localhost --crt "$work/stranger.crt" --out "$work/stranger.cfg" >/dev/null
    ! certificate=$work/stranger.crt load "$work/stranger" --cnum 1 --loop 1 2>"$work/stranger.error" &&
        grep -i certificate "$work/stranger.error" | sed 's/^/    /' | grep .
}

# load REPORT OPTION...: a closed loop against the service; its summary as JSON.
# Without the kernel's help of a pod's limits, since it is the measuring side.
load() {
    local report=$1
    shift
    "$here/cluster.sh" run -- "$programs/adytum" bench --server localhost:31001 --crt "${certificate:-$owner/public/server.crt}" \
        --image "$root/target/images/cat.jpg" --json --warmup 1 "$@" >"$report"
}

# of REPORT FIELD: a number from a summary.
of() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$1"; }
