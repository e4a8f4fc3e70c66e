#!/usr/bin/env bash
# Checks that a cluster of cluster.sh (a node of our own, up) does all that the
# deployment asks of a cluster. Prints a line a check; ends with 1 at the first
# that fails. Takes a bit more than a minute.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

environment=$("$here/cluster.sh" environment)
eval "$environment"
# The service has one fixed port, as the reference has: 31001 of the node.
service=http://localhost:31001
passed=0

# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if ! "$@"; then
        echo "FAILED: $what" >&2
        kubectl -n smoke get pods,pvc,events >&2 || true
        echo "$passed passed, 1 failed"
        exit 1
    fi
    echo "ok: $what"
    passed=$((passed + 1))
}

# eventually SECONDS COMMAND...: it becomes true before the seconds are over.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || {
            echo "waited in vain for: $*" >&2
            return 1
        }
        sleep 0.2
    done
}

fetch() { "$here/cluster.sh" run -- smoke fetch "$1"; }
rollout() { kubectl -n smoke rollout status "deployment/$1" --timeout 90s >/dev/null; }
pods() { kubectl -n smoke get pods -l app=smoke --field-selector status.phase=Running -o "jsonpath={range .items[*]}$1{'\n'}{end}"; }
endpoints() {
    kubectl -n smoke get endpointslices -l kubernetes.io/service-name=smoke \
        -o 'jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]}{"\n"}{end}' | grep -c .
}
endpoints_are() { [[ $(endpoints) == "$1" ]]; }

applied() { kubectl apply -f "$here/manifests/smoke.yaml" >/dev/null; }

# Asked often enough, a service answers from each of its pods.
answers_from() {
    local wanted=$1 answers
    answers=$(for _ in $(seq 1 40); do fetch "$service/name" && echo; done | sort -u | grep -c .)
    [[ $answers == "$wanted" ]] || { echo "answers from $answers pods, wanted $wanted" >&2; return 1; }
}

by_name() { [[ $(fetch "$service/ask?url=http://smoke.smoke.svc.cluster.local/name") == smoke-* ]]; }
by_short_name() { [[ $(fetch "$service/ask?url=http://smoke/name") == smoke-* ]]; }
from_this_machine() { [[ $(smoke fetch "http://$ADYTUM_NODE_ADDRESS:31001/name") == smoke-* ]]; }
api_from_pod() {
    # The certificate is the cluster's own, so a complaint about it shows that the server
    # was reached.
    [[ $(fetch "$service/ask?url=https://kubernetes.default.svc/" 2>&1) == *certificate* ]]
}

found() {
    local where=$1 name=$2 wanted=$3 all
    all=$(fetch "$where/around")
    grep -qF "\"$name\":\"$wanted\"" <<<"$all" || { echo "wanted $name to be '$wanted': $all" >&2; return 1; }
}

logged() { kubectl -n smoke logs deployment/smoke | grep "smoke server listening on 0.0.0.0:8080" >/dev/null; }

limited() {
    local cores
    cores=$(fetch "$service/burn")
    echo "    cores' worth of CPU time under a limit of 0.4: $cores"
    awk -v cores="$cores" 'BEGIN { exit !(cores > 0.05 && cores < 0.46) }'
}

scaled() { kubectl -n smoke scale deployment/smoke --replicas "$1" >/dev/null && rollout smoke && eventually 20 endpoints_are "$1"; }

unready() {
    local address
    address=$(pods '{.status.podIP}' | sed -n 1p)
    fetch "http://$address:8080/ready/no" >/dev/null && eventually 20 endpoints_are 2 &&
        fetch "http://$address:8080/ready/yes" >/dev/null && eventually 20 endpoints_are 3
}

restarts() { pods '{.status.containerStatuses[0].restartCount}' | awk '{ sum += $1 } END { print sum + 0 }'; }
restarts_are() { [[ $(restarts) == "$1" ]]; }
revived() {
    local address
    address=$(pods '{.status.podIP}' | sed -n 1p)
    fetch "http://$address:8080/live/no" >/dev/null && eventually 40 restarts_are 1 && eventually 20 endpoints_are 3
}

restarted() {
    local before
    before=$(pods '{.metadata.name}')
    kubectl -n smoke rollout restart deployment/smoke >/dev/null && rollout smoke
    # None of the old ones is among the new ones.
    ! pods '{.metadata.name} {.metadata.deletionTimestamp}' | awk 'NF == 1' | grep -xFf <(echo "$before") >/dev/null
}

bound() { [[ $(kubectl -n smoke get pvc state -o 'jsonpath={.status.phase}') == Bound ]]; }
keeper() { kubectl -n smoke get pods -l app=keeper -o 'jsonpath={.items[0].status.podIP}'; }

refused_epc() { kubectl -n smoke get events | grep "Insufficient sgx.intel.com/epc" >/dev/null; }

kubelet_restarted() {
    local before
    before=$(pods '{.metadata.uid} {.status.containerStatuses[0].restartCount}')
    "$here/cluster.sh" kubelet-restart && rollout smoke && [[ $before == "$(pods '{.metadata.uid} {.status.containerStatuses[0].restartCount}')" ]] && by_name
}

measured() { kubectl -n smoke top pods | grep '^smoke-.*m .*Mi' >/dev/null; }

# Under load the autoscaler adds the fourth replica.
autoscaled() {
    kubectl -n smoke autoscale deployment smoke --min 3 --max 4 --cpu 20% >/dev/null
    local load
    (while :; do fetch "$service/burn" >/dev/null 2>&1 || true; done) &
    load=$!
    local result=0
    eventually 120 endpoints_are 4 || result=1
    kill "$load"
    wait "$load" 2>/dev/null || true
    return "$result"
}

removed() { kubectl delete namespace smoke --timeout 90s >/dev/null; }

"$here/cluster.sh" images-load "$ADYTUM_CLUSTER_IMAGES/smoke.tar"
check "objects are accepted, pod security 'restricted' enforced" applied
check "a deployment of 2 replicas from a scratch image becomes ready" rollout smoke
check "node port 31001 answers on localhost" eventually 20 fetch "$service/name"
check "both replicas answer" answers_from 2
check "node port 31001 answers on the node's address" from_this_machine
check "a pod finds the service by its full name" by_name
check "a pod finds the service by its short name" by_short_name
check "a pod reaches the API server" api_from_pod
check "kubectl logs" logged
check "the process is not root" found "$service" uid 65532
check "seccomp filters" found "$service" Seccomp 2
check "no new privileges" found "$service" NoNewPrivs 1
check "no capabilities" found "$service" CapBnd 0000000000000000
check "the root file system is read-only" found "$service" root "disk, read-only"
check "an emptyDir in memory" found "$service" memory "memory, writable"
check "the CPU limit holds" limited
check "kubectl scale to 3" scaled 3
check "all three replicas answer" answers_from 3
check "an unready pod gets no requests" unready
check "a pod that fails its liveness probe is restarted" revived
check "rolling restart" restarted
check "the claim is bound" eventually 30 bound
check "the pod with the volume becomes ready" rollout keeper
check "its volume is writable for a user that isn't root" found "http://$(keeper):8080" state "disk, writable"
check "a pod that asks for more EPC than there is stays pending" eventually 20 refused_epc
check "the kubelet ends and comes back, pods live on" kubelet_restarted
check "CPU and memory of pods are measured" eventually 60 measured
check "the autoscaler adds a replica under load" autoscaled
check "the namespace can be deleted" removed
echo "$passed passed, 0 failed"
