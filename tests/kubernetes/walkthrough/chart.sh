# shellcheck shell=bash
# The same deployment by Helm. Sourced by walkthrough.sh.

part_chart() {
    check "the chart is installed in the YAML's place" charted
    check "one command provisions the chart's broker" provision
    check "its replica becomes ready" rolled_out
    check "helm test classifies a picture through the service" helm test adytum --namespace "$namespace"
    check "an upgrade turns autoscaling on, and load adds replicas" autoscales
}

helm() { "$root/deploy/helm/helm.sh" "$@" | sed 's/^/    /'; }

charted() {
    kubectl delete -k "$root/deploy/overlays/simulation" --timeout 120s >/dev/null &&
        # Its broker is a new one.
        rm -f "$ADYTUM_HEADS" &&
        helm install adytum "$root/deploy/helm/adytum" --namespace "$namespace" --values "$root/deploy/helm/reference.yaml" \
            --set tee=simulation --wait=false &&
        kubectl rollout status deployment/init-ra-server-deployment --timeout 60s >/dev/null
}

autoscales() {
    helm upgrade adytum "$root/deploy/helm/adytum" --namespace "$namespace" --reuse-values \
        --set serving.autoscaling.enabled=true,serving.autoscaling.maxReplicas=2 \
        --set serving.autoscaling.targetCPUUtilizationPercentage=50 --set serving.resources.limits.cpu=400m \
        >/dev/null && rolled_out || return
    load "$work/autoscaled" --cnum 6 --duration 90s --timeout 60s &
    local loading=$!
    beside+=("$loading")
    eventually 80 ready_are 2 || {
        kubectl describe hpa
        return 1
    }
    kubectl get hpa --no-headers | sed 's/^/    /'
    wait "$loading" || {
        cat "$work/autoscaled"
        return 1
    }
    [[ $(of "$work/autoscaled" failed) == 0 ]]
}
ready_are() { [[ $(kubectl get deployment tf-demo-deployment -o 'jsonpath={.status.readyReplicas}') == "$1" ]]; }
