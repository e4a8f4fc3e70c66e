# shellcheck shell=bash
# etcd, the API server, the controllers and the scheduler, with their
# certificates. They listen in the node's network namespace only.

make_certificates() {
    mkdir -p "$state/pki"
    "$bin/node-certificates" -directory "$state/pki" -node "$node_name" \
        -addresses "$(node_address),127.0.0.1,$service_api" || fail "the certificates can't be made"
    local name
    for name in admin controller-manager scheduler proxy node metrics-server network-policies; do
        kubeconfig_of "$name" >"$state/kubeconfig/$name"
        chmod 600 "$state/kubeconfig/$name"
    done
}

kubeconfig_of() {
    local name=$1
    cat <<END
apiVersion: v1
kind: Config
clusters:
- name: adytum-test
  cluster:
    server: https://$(node_address):6443
    certificate-authority-data: $(base64 -w0 "$state/pki/ca.crt")
users:
- name: $name
  user:
    client-certificate-data: $(base64 -w0 "$state/pki/$name.crt")
    client-key-data: $(base64 -w0 "$state/pki/$name.key")
contexts:
- name: adytum-test
  context: {cluster: adytum-test, user: $name}
current-context: adytum-test
END
}

start_control_plane() {
    local pki=$state/pki
    # The test's data may be lost with the machine: no fsync for every write.
    start_program etcd "$bin/etcd" --name node --data-dir "$state/etcd" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster node=http://127.0.0.1:2380 --log-level warn
    start_program kube-apiserver "$bin/kube-apiserver" \
        --etcd-servers http://127.0.0.1:2379 \
        --bind-address "$(node_address)" --advertise-address "$(node_address)" --secure-port 6443 \
        --service-cluster-ip-range "$service_range" --allow-privileged=true \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --client-ca-file "$pki/ca.crt" \
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
        --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
        --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names aggregator \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$pki/aggregator.crt" --proxy-client-key-file "$pki/aggregator.key" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-signing-key-file "$pki/service-accounts.key" \
        --service-account-key-file "$pki/service-accounts.key"
    wait_until 120 "the API server to be ready" kubectl get --raw /readyz ||
        fail "the API server doesn't answer: $(tail -n 3 "$state/logs/kube-apiserver.log")"
    start_program kube-controller-manager "$bin/kube-controller-manager" \
        --kubeconfig "$state/kubeconfig/controller-manager" --leader-elect=false --bind-address 127.0.0.1 \
        --use-service-account-credentials --root-ca-file "$pki/ca.crt" \
        --service-account-private-key-file "$pki/service-accounts.key" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --flex-volume-plugin-dir "$state/volume-plugins"
    start_program kube-scheduler "$bin/kube-scheduler" \
        --kubeconfig "$state/kubeconfig/scheduler" --leader-elect=false --bind-address 127.0.0.1
}

kubectl() { "$bin/kubectl" --kubeconfig "$state/kubeconfig/admin" --request-timeout 20s "$@"; }
