# shellcheck shell=bash
# The data owner's proxy next to an unmodified client, by deploy/sidecar. Sourced by walkthrough.sh.

part_sidecar() {
    check "the owners export a service file, and the replicas get a name of their own" service_exported
    check "a client gets the proxy into its pod" sidecar_deployed "$(genesis_digest)"
    check "the client asks 127.0.0.1 without TLS, and a proved replica answers" sidecar_answers
    check "with two replicas and one of them killed, it still answers" sidecar_fails_over
    check "with another genesis the proxy does not start, and nothing is sent" sidecar_refuses
    kubectl delete deployment client --wait=false >/dev/null
    kubectl delete service tf-demo-replicas configmap/adytum-service configmap/adytum-proxy --ignore-not-found >/dev/null 2>&1 || true
}

genesis_digest() { "$programs/adytum" genesis show "$owner/public/genesis.toml" | grep -oE '[0-9a-f]{64}' | sed -n 1p; }

service_exported() {
    rm -f "$work/service.toml"
    "$programs/adytum" service export "$owner/public/manifest.toml" --genesis "$owner/public/genesis.toml" \
        --owner "$owner/private/owner.pem" --out "$work/service.toml" >/dev/null &&
        kubectl apply -f "$root/deploy/sidecar/replicas.yaml" >/dev/null
}

# sidecar_deployed GENESIS: the example of deploy/sidecar with the reference's client in it.
sidecar_deployed() {
    local stage=$work/sidecar
    rm -rf "$stage"
    cp -r "$root/deploy/sidecar" "$stage"
    cp "$work/service.toml" "$owner/public/simulation-root.pem" "$stage/example/"
    # What a person writes there, and what only a simulation needs.
    sed -i -e "s/genesis=0*\$/genesis=$1/" -e "s/default\.svc/$namespace.svc/" \
        -e 's/files: \[service.toml\]/files: [service.toml, simulation-root.pem]/' "$stage/example/kustomization.yaml"
    cat >>"$stage/example/kustomization.yaml" <<'END'
patches:
  - target: {kind: Deployment, name: client}
    patch: |-
      - op: add
        path: /spec/template/spec/initContainers/0/args/-
        value: --trust-simulation=/etc/adytum/service/simulation-root.pem
END
    # The client waits; it is asked by `kubectl exec`.
    sed -i "s|image: example/client:1|image: demo/tf_demo_client:$tag\n          imagePullPolicy: IfNotPresent\n          command: [adytum, evidence, show, --replica, '127.0.0.1:1', --wait, 1h, --collateral, 'http://127.0.0.1:1']|" \
        "$stage/example/client.yaml"
    kubectl apply -k "$stage/example" >/dev/null
}

sidecar_answers() {
    kubectl rollout status deployment/client --timeout 90s >/dev/null && eventually 30 sidecar_classifies || {
        kubectl logs deployment/client -c adytum-proxy --tail 20
        return 1
    }
    sed 's/^/    /' "$work/sidecar.answer"
}

sidecar_classifies() {
    kubectl exec deployment/client -c client -- python3 resnet_client_grpc.py --server=127.0.0.1:8500 --image cat.jpg \
        >"$work/sidecar.answer" 2>&1 && grep '^Prediction class: ' "$work/sidecar.answer" >/dev/null
}

sidecar_fails_over() {
    kubectl scale deployment/tf-demo-deployment --replicas 2 >/dev/null && rolled_out 120 && sidecar_classifies || return
    kubectl delete pod "$(newest_pod tf-demo)" --grace-period 0 --force >/dev/null 2>&1
    local request
    for request in 1 2 3 4 5; do sidecar_classifies || {
        cat "$work/sidecar.answer"
        return 1
    }; done
    kubectl scale deployment/tf-demo-deployment --replicas 1 >/dev/null && rolled_out 120
}

sidecar_refuses() {
    sidecar_deployed "$(printf '1%.0s' {1..64})" && eventually 60 sidecar_said genesis && ! sidecar_newest_ready
}
sidecar_said() { kubectl logs "$(newest_pod client)" -c adytum-proxy 2>/dev/null | grep -i "$1" >/dev/null; }
sidecar_newest_ready() {
    [[ $(kubectl get pod "$(newest_pod client)" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}
