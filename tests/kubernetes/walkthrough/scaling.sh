# shellcheck shell=bash
# Three replicas against one under the same limit each, and how fast one starts.
# Sourced by walkthrough.sh.

limit=400m
connections=32

part_scaling() {
    kubectl set resources deployment tf-demo-deployment --requests cpu=100m --limits "cpu=$limit" >/dev/null
    check "a replica with $limit of CPU becomes ready" rolled_out
    check "three replicas do at least 2.4 times the work of one" scales
    check "connections that stay find the replicas that were added" rebalanced
    check "a replica of ResNet-50 answers within 6 s at $limit" starts_within 6 resnet50
    check "a replica of the digits model answers within 3 s at $limit" starts_digits
}

replicas() {
    kubectl scale deployment tf-demo-deployment --replicas "$1" >/dev/null && rolled_out &&
        eventually 60 pods_are "$1"
}
pods_are() { [[ $(kubectl get pods -l app=tf-demo -o name | grep -c .) == "$1" ]]; }

# throughput REPLICAS: sets `rate`; logs CPU seconds of the client and the control plane.
throughput() {
    replicas "$1" || return
    local before after
    before=$("$here/cluster.sh" usage)
    TIMEFORMAT='%U %S'
    { time load "$work/load" --cnum "$connections" --duration 20s; } 2>"$work/time" || {
        cat "$work/load" "$work/time"
        return 1
    }
    after=$("$here/cluster.sh" usage)
    rate=$(of "$work/load" tps)
    echo "    $1 replica(s): $rate/s; p50 $(of "$work/load" p50) ms; client CPU (user, system) $(tail -n 1 "$work/time") s"
    paste <(echo "$before") <(echo "$after") | sed 's/^/      CPU seconds before and after: /'
}

scales() {
    local round rate ones=() threes=() ratios=()
    for round in 1 2 3 4 5; do
        throughput 1 || return
        ones+=("$rate")
        throughput 3 || return
        threes+=("$rate")
        ratios+=("$(awk -v a="${threes[-1]}" -v b="${ones[-1]}" 'BEGIN { printf "%.2f", a / b }')")
        echo "    round $round: ${ratios[-1]}"
    done
    local ratio
    ratio=$(printf '%s\n' "${ratios[@]}" | median)
    figure "1 replica at $limit, ResNet-50, predictions a second" "$(printf '%s\n' "${ones[@]}" | median)"
    figure "3 replicas at $limit each" "$(printf '%s\n' "${threes[@]}" | median)"
    figure "ratio, median of ${#ratios[@]} (${ratios[*]})" "$ratio"
    at_least "$ratio" 2.4
}

# Connections opened to one replica end gracefully after --max_connection_age and
# are opened anew: after a while all three work.
rebalanced() {
    local name
    kubectl get deployment tf-demo-deployment -o json |
        sed 's/--max_connection_age=[0-9]*/--max_connection_age=10/' | kubectl apply -f - >/dev/null
    replicas 1 || return
    load "$work/rebalance" --cnum 12 --duration 45s &
    beside+=($!)
    kubectl scale deployment tf-demo-deployment --replicas 3 >/dev/null
    wait "$!" || {
        cat "$work/rebalance"
        return 1
    }
    [[ $(of "$work/rebalance" failed) == 0 ]] || return
    for name in $(kubectl get pods -l app=tf-demo -o name); do
        local used
        used=$("$here/cluster.sh" usage | awk -v pod="${name#pod/}" 'index($0, pod) { print $NF }')
        echo "    ${name#pod/}: $used CPU seconds"
        at_least "${used:-0}" 2 || return
    done
}

# starts_within SECONDS WHAT: from scaling up to ready, image present; three times.
starts_within() {
    local start times=() round
    for round in 1 2 3; do
        replicas 1 || return
        start=$(now)
        kubectl scale deployment tf-demo-deployment --replicas 2 >/dev/null
        kubectl wait --for=jsonpath='{.status.readyReplicas}'=2 deployment/tf-demo-deployment --timeout 60s >/dev/null || return
        times+=("$(since "$start")")
    done
    replicas 1 || return
    local time
    time=$(printf '%s\n' "${times[@]}" | median)
    figure "scale up to answering at $limit, $2, seconds (${times[*]})" "$time"
    at_most "$time" "$1"
}

# The digits model under its own name; everything else is the same.
starts_digits() {
    kubectl get deployment tf-demo-deployment -o json |
        sed 's/--model_name=resnet/--model_name=digits/; s,--model_base_path=/models/resnet,--model_base_path=/models/digits,' |
        kubectl apply -f - >/dev/null
    rolled_out && starts_within 3 digits || return
    kubectl apply -k "$root/deploy/overlays/simulation" >/dev/null && rolled_out
}
