# shellcheck shell=bash
# The actions for a node of our own.

own_exists() { [[ -d $state ]] || [[ -n $(cgroup_directories) ]]; }

# Where the programs are, once they are built.
use_components() {
    bin=$(components_directory)/bin
    [[ -x $bin/node ]] || fail "the programs aren't built; run: cluster.sh up"
}

# One action at a time on one state folder.
lock_state() {
    exec {lock}<"$state"
    flock --wait 900 "$lock" || fail "another cluster.sh works on $state"
}

make_state() {
    case $state in
        /run/* | /var/lib/* | /var/log/* | /proc/* | /sys/* | /dev/*)
            fail "ADYTUM_CLUSTER_STATE is $state; the node has folders of its own there, choose another place"
            ;;
    esac
    mkdir -p "$(dirname "$state")"
    [[ -d $state ]] || mkdir -m 700 "$state"
    [[ -O $state && ! -L $state ]] || fail "$state belongs to someone else; remove it or set ADYTUM_CLUSTER_STATE"
}

own_answers() { node_lives && kubectl get --raw /readyz >/dev/null 2>&1; }

own_up() {
    ((EUID == 0)) || fail "a node of our own needs root (namespaces, mounts); or set ADYTUM_KUBECONFIG, or install kind"
    build_components
    use_components
    make_state
    lock_state
    if [[ -e $state/complete ]] && own_answers; then
        say "already up"
    else
        # What a start that was cut off left.
        remove_node
        start_node
        touch "$state/complete"
    fi
    own_environment
}

start_node() {
    mkdir -p "$state"/{logs,pids,pki,kubeconfig,config/cni,etcd,containerd,kubelet,cni,volumes,volume-plugins,pod-logs}
    install_packages
    start_node_holder
    link_node
    make_certificates
    write_kubelet_configuration
    start_containerd
    load_image "$(dirname "$bin")/images/pause.tar"
    load_image "$(dirname "$bin")/images/coredns.tar"
    start_control_plane
    apply_addons
    start_kubelet
    start_kube_proxy
    wait_for_node
    start_network_policies
    advertise_sgx "$node_name"
    wait_for_sgx "$node_name"
    wait_for_names
    start_metrics_server
}

# Everything but the state folder itself, which the lock is on.
remove_node() {
    end_node
    unlink_node
    [[ ! -d $state ]] || find "$state" -mindepth 1 -delete
}

own_down() {
    ((EUID == 0)) || fail "'down' needs root, as 'up' does"
    if ! own_exists; then
        say "nothing is up"
        return
    fi
    [[ ! -d $state ]] || lock_state
    remove_node
    [[ ! -d $state ]] || rmdir "$state"
    local left
    left=$(own_leftovers)
    [[ -z $left ]] || fail "this is left: $left"
    say "down; nothing is left"
}

own_leftovers() {
    cgroup_processes
    cgroup_directories
    ip -o link show "$link" 2>/dev/null || true
    grep -F "$state" /proc/self/mountinfo || true
    [[ ! -e $state ]] || echo "$state"
}

own_status() {
    if ! own_exists; then
        say "down"
        return 1
    fi
    use_components
    local name
    for name in containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy network-policies metrics-server; do
        if node_lives && program_lives "$name"; then
            echo "$name: runs"
        else
            echo "$name: doesn't run ($state/logs/$name.log)"
        fi
    done
    own_answers || fail "the API server doesn't answer"
    kubectl get nodes -o wide
    kubectl get pods -A -o wide
}

own_environment() {
    use_components
    # For a shell: eval "$(cluster.sh environment)"
    printf 'export KUBECONFIG=%q\n' "$state/kubeconfig/admin"
    local go
    # Helm, if it isn't installed, is compiled too.
    go=$(existing_go) || go=
    # shellcheck disable=SC2016 # expanded in that shell
    printf 'export PATH=%q:"$PATH"%s\n' "$bin" "${go:+:$(dirname "$go")}"
    printf 'export ADYTUM_NODE_ADDRESS=%q\n' "$(node_address)"
    printf 'export ADYTUM_CLUSTER_IMAGES=%q\n' "$(dirname "$bin")/images"
    # The owner of the node can read all of its files.
    printf 'export ADYTUM_CLUSTER_FILES=%q\n' "$state"
}

own_images_load() {
    use_components
    own_answers || fail "no cluster is up; run: cluster.sh up"
    local archive
    for archive in "$@"; do
        load_image "$archive"
    done
}

own_run() {
    node_lives || fail "no cluster is up; run: cluster.sh up"
    in_node_network "$@"
}

own_kubelet_restart() {
    use_components
    lock_state
    own_answers || fail "no cluster is up; run: cluster.sh up"
    end_program kubelet KILL
    start_kubelet
    wait_until 60 "the kubelet to answer" in_node_network "$bin/smoke" fetch http://127.0.0.1:10248/healthz ||
        fail "the kubelet doesn't come back: $state/logs/kubelet.log"
    wait_for_node
    advertise_sgx "$node_name"
    wait_for_sgx "$node_name"
}

own_usage() {
    node_lives || fail "no cluster is up; run: cluster.sh up"
    echo "control plane: $(cgroup_cpu_seconds system) CPU seconds"
    echo "pods: $(cgroup_cpu_seconds kubepods) CPU seconds"
}
