# shellcheck shell=bash
# Metrics of pods, which the HorizontalPodAutoscaler decides by.

start_metrics_server() {
    local pki=$state/pki
    sed -e "s|@ADDRESS@|$(node_address)|" -e "s|@AUTHORITY@|$(base64 -w0 "$pki/ca.crt")|" "$manifests/metrics.yaml" |
        kubectl apply -f - >/dev/null || fail "the metrics API can't be applied"
    start_program metrics-server "$bin/metrics-server" \
        --kubeconfig "$state/kubeconfig/metrics-server" \
        --authentication-kubeconfig "$state/kubeconfig/metrics-server" \
        --authorization-kubeconfig "$state/kubeconfig/metrics-server" \
        --bind-address "$(node_address)" --secure-port 4443 \
        --tls-cert-file "$pki/metrics-server-serving.crt" --tls-private-key-file "$pki/metrics-server-serving.key" \
        --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$pki/ca.crt" \
        --kubelet-request-timeout 5s --metric-resolution 10s
    # While it doesn't answer, no namespace can be deleted.
    wait_until 60 "the metrics API to answer" kubectl get --raw /apis/metrics.k8s.io/v1beta1 ||
        fail "the metrics API doesn't answer: $(tail -n 3 "$state/logs/metrics-server.log")"
}
