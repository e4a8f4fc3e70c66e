# shellcheck shell=bash
# What runs pods: containerd with a root of its own (the system's service is
# not touched), the bridge network, the kubelet and kube-proxy.

start_containerd() {
    cat >"$state/config/containerd.toml" <<END
version = 2
root = "$state/containerd"
state = "/run/containerd/state"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[ttrpc]
  address = "/run/containerd/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  # To lower a score takes CAP_SYS_RESOURCE, which root of a sandbox may lack.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_programs"
    conf_dir = "$state/config/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
END
    # Only pods have addresses on the bridge; they reach services and each other.
    cat >"$state/config/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "adytum-test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$state/cni",
            "ranges": [[{"subnet": "$pod_range"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
    start_program containerd containerd --config "$state/config/containerd.toml"
    wait_until 60 "containerd to answer" node_ctr version ||
        fail "containerd doesn't answer: $(tail -n 3 "$state/logs/containerd.log")"
}

node_ctr() { in_node ctr --address /run/containerd/containerd.sock --namespace k8s.io "$@"; }

load_image() {
    local archive=$1
    [[ -r $archive ]] || fail "no such image archive: $archive"
    # By standard input: the node has folders of its own where the archive may lie.
    node_ctr images import - <"$archive" >&2 || fail "containerd can't import $archive"
    name_images_as_pods_do
}

# A pod's "demo/x" means docker.io/demo/x; archives of podman and buildah say
# localhost/demo/x, or demo/x alone. Such images get the full name too.
name_images_as_pods_do() {
    local name full
    for name in $(node_ctr images ls -q); do
        case $name in
            sha256:* | *.*/* | *:*/*) continue ;;
        esac
        full=${name#localhost/}
        [[ $full == */* ]] || full=library/$full
        node_ctr images tag --force "$name" "docker.io/$full" >/dev/null || fail "image $name can't be named docker.io/$full"
    done
}

write_kubelet_configuration() {
    : >"$state/config/resolv.conf" # no name is resolved outside of the cluster
    cat >"$state/config/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_address)
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $state/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $state/pki/kubelet.crt
tlsPrivateKeyFile: $state/pki/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [$service_dns]
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
podLogsDir: $state/pod-logs
resolvConf: $state/config/resolv.conf
volumePluginDir: $state/volume-plugins
# The disk is the machine's: its fill level says nothing about this cluster.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
END
    cat >"$state/config/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $pod_range
hostnameOverride: $node_name
oomScoreAdj: 0
clientConnection: {kubeconfig: $state/kubeconfig/proxy}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
# Node ports answer on localhost too, as the walkthrough uses them.
iptables: {localhostNodePorts: true}
# These are the whole machine's settings: leave them.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
}

start_kubelet() {
    start_program kubelet "$bin/kubelet" --config "$state/config/kubelet.yaml" \
        --kubeconfig "$state/kubeconfig/node" --root-dir "$state/kubelet" \
        --hostname-override "$node_name" --node-ip "$(node_address)"
}

start_kube_proxy() {
    start_program kube-proxy "$bin/kube-proxy" --config "$state/config/kube-proxy.yaml"
}

node_ready() {
    [[ $(kubectl get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

wait_for_node() {
    wait_until 90 "the node to be ready" node_ready ||
        fail "the node doesn't become ready: $(grep -E '^[EF]' "$state/logs/kubelet.log" | tail -n 3)"
}
