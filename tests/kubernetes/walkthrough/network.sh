# shellcheck shell=bash
# What the network policies let through. Sourced by walkthrough.sh. The other parts
# show that nothing is missing; these pods show that nothing is left open.

part_network() {
    check "three pods that only wait: a stranger's, a workload's, one like a replica" probes_wait
    if ! policies_are_enforced; then
        echo "skipped: this cluster does not enforce network policies"
        kubectl delete pods -l adytum-test=probe --wait=false >/dev/null
        return
    fi
    check "a stranger's pod does not reach the broker" kept_from stranger init-ra-server-svc:5000
    check "a workload's pod does" reaches workload init-ra-server-svc:5000
    check "a pod with a replica's labels reaches it too" reaches replica init-ra-server-svc:5000
    check "everybody reaches the model server" reaches stranger tf-demo-svc:9001
    check "a replica does not reach other replicas: whoever breaks into one is alone" kept_from replica tf-demo-svc:9001
    check "a stranger's pod does not reach the port for health and metrics" kept_from_health stranger init-ra-server
    check "the kubelet does, and finds the broker ready" broker_is_ready
    check "a replica reaches collateral, and nothing else on that port" only_collateral replica
    kubectl delete pods -l adytum-test=probe --wait=false >/dev/null
}

address_of() { kubectl get pods -l "app=$1" -o 'jsonpath={.items[0].status.podIP}'; }
# A port that is reached answers, if not in TLS.
kept_from_health() { kept_from "$1" "$(address_of "$2"):5001"; }
broker_is_ready() { kubectl wait --for=condition=Ready pods -l app=init-ra-server --timeout 30s >/dev/null; }

# A second platform, which no policy names: it listens where the PCCS does.
only_collateral() {
    cat <<END | kubectl apply -f - >/dev/null || return 1
apiVersion: v1
kind: Pod
metadata: {name: elsewhere, labels: {adytum-test: probe, app: elsewhere}}
spec:
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
  containers:
    - name: platform
      image: demo/adytum_sim:$tag
      imagePullPolicy: IfNotPresent
      volumeMounts: [{name: platform, mountPath: /platform, readOnly: true}]
  volumes:
    - name: platform
      secret: {secretName: adytum-sim-platform, defaultMode: 0440}
END
    kubectl wait --for=condition=Ready pod elsewhere --timeout 60s >/dev/null || return 1
    local address
    address=$(address_of elsewhere):8081
    reaches stranger "$address" && reaches "$1" "$(address_of adytum-sim):8081" && kept_from "$1" "$address"
}

probes_wait() {
    probe stranger app=stranger && probe workload adytum/workload=true &&
        # No pod of the Deployment's: its ReplicaSet asks for one label more.
        probe replica app=tf-demo &&
        kubectl wait --for=condition=Ready pods -l adytum-test=probe --timeout 60s >/dev/null
}

# The client's program has something that waits long for what never comes.
probe() {
    kubectl run "$1" --image "demo/tf_demo_client:$tag" --image-pull-policy IfNotPresent --restart Never --quiet \
        --labels "adytum-test=probe,$2" --overrides '{"spec": {"automountServiceAccountToken": false}}' \
        --command -- adytum evidence show --replica 127.0.0.1:1 --wait 1h --collateral http://127.0.0.1:1 >/dev/null
}

# said_to POD SERVER: what a client hears there.
said_to() {
    kubectl exec "$1" -- python3 resnet_client_grpc.py "--server=$2" --crt server.crt --image cat.jpg 2>&1 || true
}
# The broker refuses a client that speaks TensorFlow's protocol; a model server
# answers, or has a certificate for another name.
answered() { said_to "$1" "$2" | grep -E 'TLS handshake failed|certificate|^Prediction class: ' >/dev/null; }
unanswered() { said_to "$1" "$2" | grep -E 'connection refused|no answer|timed out' >/dev/null; }

reaches() { eventually 30 answered "$1" "$2" || { said_to "$1" "$2" && return 1; }; }
kept_from() { eventually 30 unanswered "$1" "$2" || { said_to "$1" "$2" && return 1; }; }

policies_are_enforced() {
    cat <<'END' | kubectl apply -f - >/dev/null || return 1
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing-out}
spec:
  podSelector: {matchLabels: {app: stranger}}
  policyTypes: [Egress]
END
    local enforced=1
    # Names are not resolved either.
    if eventually 20 nothing_gets_out; then enforced=0; fi
    kubectl delete networkpolicy nothing-out >/dev/null
    return $enforced
}
nothing_gets_out() { ! answered stranger tf-demo-svc:9001; }
