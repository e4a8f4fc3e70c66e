# shellcheck shell=bash
# Images, cluster, deployment. Sourced by walkthrough.sh.

build_images() {
    programs=$root/target/images/bin/simulation
    if [[ -z $archives ]]; then
        archives=$root/target/walkthrough/archives
        "$root/deploy/build.sh" -s -r demo -g "$tag" -d "$owner" -o "$archives"
    fi
    [[ -x $programs/adytum ]] || {
        echo "walkthrough.sh: $programs has no programs; build them with deploy/build.sh -s" >&2
        exit 1
    }
}

bring_up() {
    local environment
    environment=$("$here/cluster.sh" up)
    eval "$environment"
    "$here/cluster.sh" images-load "$archives"/*.tar
    # What a run before this one left on a cluster that was kept.
    kubectl delete namespace "$namespace" --ignore-not-found --timeout 120s >/dev/null
    kubectl create namespace "$namespace" >/dev/null
    # For all that follows, provision.sh too.
    cp "$KUBECONFIG" "$work/kubeconfig"
    export KUBECONFIG=$work/kubeconfig
    kubectl config set-context --current --namespace "$namespace" >/dev/null
}

# The simulated platform's own keys are the one thing that a Secret holds: see
# the list of exceptions in secrets.sh.
deploy() {
    # Not the memory of the person who runs this; for all that follows.
    export ADYTUM_HEADS=$owner/private/heads.json
    # Heads of the broker of another run: this one is new.
    rm -f "$ADYTUM_HEADS"
    kubectl apply -f "$owner/private/simulation-platform.yaml" >/dev/null
    kubectl apply -k "$root/deploy/overlays/simulation" >/dev/null
    kubectl rollout status deployment/adytum-sim --timeout 60s >/dev/null
}

broker_pod() { newest_pod init-ra-server; }
newest_pod() {
    kubectl get pods -l "app=$1" --sort-by=.metadata.creationTimestamp \
        -o 'jsonpath={.items[-1:].metadata.name}'
}
logged() { kubectl logs "$(newest_pod "$1")" | grep -F "$2" >/dev/null; }

provision() { "$root/deploy/provision.sh" -s -d "$owner" -n "$namespace" -a "$programs/adytum"; }

part_basics() {
    check "the broker says: Server listening on 0.0.0.0:5000" \
        eventually 60 logged init-ra-server "Server listening on 0.0.0.0:5000"
    check "a replica without secrets is not ready" unready_without_secrets
    check "one command verifies the broker through the cluster and gives it manifest and secrets" provision
    check "the replica says: Running gRPC ModelServer at 0.0.0.0:9001 ..." \
        eventually 60 logged tf-demo "Running gRPC ModelServer at 0.0.0.0:9001 ..."
    check "the replica becomes ready" rolled_out
    check "adytum doctor --cluster finds no fault" \
        eventually 30 "$programs/adytum" doctor --cluster --namespace "$namespace"
    check "no pod is privileged, root, or mounts the host" confined
    check "the reference's client classifies through NodePort 31001 with server.crt" classifies
    check "the reference's benchmark prints its lines and its summary" benchmark
    check "a client that trusts another certificate is refused" stranger_refused
}

unready_without_secrets() {
    eventually 30 logged tf-demo "no secrets yet" &&
        [[ $(kubectl get deployment tf-demo-deployment -o 'jsonpath={.status.readyReplicas}') == "" ]]
}

# A replica that is ready gets requests a moment later, when kube-proxy knows it as well.
rolled_out() {
    kubectl rollout status deployment/tf-demo-deployment --timeout "${1:-90}s" >/dev/null &&
        eventually 30 node_port_answers
}

node_port_answers() { "$here/cluster.sh" run -- bash -c ': </dev/tcp/localhost/31001'; }

confined() {
    local pods
    pods=$(kubectl get pods -o json)
    ! grep -qE '"(hostPath|hostNetwork|hostPID)"|"privileged": true' <<<"$pods" &&
        ! grep -q '"runAsUser": 0' <<<"$pods" &&
        [[ $(grep -c '"readOnlyRootFilesystem": true' <<<"$pods") -ge 3 ]]
}
