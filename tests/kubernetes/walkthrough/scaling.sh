# shellcheck shell=bash
# Three replicas against one under the same limit each, and how fast one starts.
# Sourced by walkthrough.sh.

limit=400m
connections=32

part_scaling() {
    check "a replica with $limit of CPU becomes ready" limited
    check "three replicas and one are measured in turn" scales
}

part_starting() {
    check "a replica with $limit of CPU becomes ready" limited
    check "connections that stay find the replicas that were added" rebalanced
    check "a replica of ResNet-50 is started" starts_within 6 ResNet-50
    check "a replica of the digits model is started" starts_digits
}

limited() {
    kubectl set resources deployment tf-demo-deployment --requests cpu=100m --limits "cpu=$limit" >/dev/null &&
        rolled_out
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
    { time load "$work/load" --cnum "$connections" --duration 20s --timeout 60s; } 2>"$work/time" || {
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
    for round in $(seq "${quick:-5}"); do
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
    met "three replicas at least 2.4 times one" at_least "$ratio" 2.4
}

# Connections opened to one replica end gracefully after --max_connection_age and
# are opened again: after a while all three work.
rebalanced() {
    set_argument max_connection_age 10 && replicas 1 || return
    load "$work/rebalanced" --cnum 12 --duration 75s --timeout 60s &
    local loading=$!
    beside+=("$loading")
    replicas 3 && eventually 60 all_work || return
    kubectl top pods -l app=tf-demo --no-headers | sed 's/^/    /'
    wait "$loading" || {
        cat "$work/rebalanced"
        return 1
    }
    [[ $(of "$work/rebalanced" failed) == 0 ]]
}

# Each of three pods uses a quarter of its limit at least.
all_work() {
    kubectl top pods -l app=tf-demo --no-headers |
        awk '{ sub("m", "", $2); if ($2 >= 100) working++ } END { exit !(working == 3) }'
}

# set_argument NAME VALUE: of the model server.
set_argument() {
    local arguments
    arguments=$(kubectl get deployment tf-demo-deployment -o 'jsonpath={.spec.template.spec.containers[0].args}' |
        sed "s,--$1=[^\"]*,--$1=$2,")
    kubectl patch deployment tf-demo-deployment --type json \
        -p "[{\"op\": \"replace\", \"path\": \"/spec/template/spec/containers/0/args\", \"value\": $arguments}]" >/dev/null
}

# starts_within SECONDS WHAT: from scaling up to ready, image present; three times.
starts_within() {
    local start times=() round
    for round in $(seq "${quick:-3}"); do
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
    met "within $1 s" at_most "$time" "$1"
}

# The digits model under its own name; everything else is the same.
starts_digits() {
    set_argument model_name digits && set_argument model_base_path /models/digits || return
    rolled_out && starts_within 3 'the digits model' || return
    kubectl apply -k "$root/deploy/overlays/simulation" >/dev/null && rolled_out
}
