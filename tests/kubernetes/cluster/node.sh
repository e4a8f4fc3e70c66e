# shellcheck shell=bash
# The node: namespaces of its own (processes, mounts, network, host name), held
# by one process. When that one ends, the kernel ends every process of the node
# and takes back its mounts, links and firewall rules.

node_holder() { cat "$state/node.holder" 2>/dev/null; }

node_lives() {
    local holder
    holder=$(node_holder) && [[ -n $holder ]] &&
        grep -qsF "/$cgroup/system" "/proc/$holder/cgroup"
}

start_node_holder() {
    make_cgroups
    (
        enter_system_cgroup
        exec {lock}>&-
        exec setsid unshare --fork --kill-child --pid --mount --net --uts --ipc --propagation private -- \
            bash "$here/cluster/node_holder.sh" "$state" "$node_name"
    ) </dev/null >>"$state/logs/node.log" 2>&1 &
    wait_until 20 "the node's namespaces ($state/logs/node.log)" test -e "$state/node.ready" ||
        fail "the node's namespaces can't be made: $(tail -n 3 "$state/logs/node.log")"
}

# Run a command in all of the node's namespaces.
in_node() { nsenter --target "$(node_holder)" --mount --net --uts --ipc --pid -- "$@"; }

# Run a command with the node's network and everything else as it is here.
in_node_network() { nsenter --target "$(node_holder)" --net -- "$@"; }

# start_program NAME COMMAND...: start a program in the node, its log and its
# id (as the node sees it) in the state folder.
start_program() {
    local name=$1
    shift
    rm -f "$state/pids/$name"
    (
        enter_system_cgroup
        exec {lock}>&-
        # shellcheck disable=SC2016 # expanded inside the node
        exec setsid nsenter --target "$(node_holder)" --mount --net --uts --ipc --pid -- \
            bash -c 'echo $$ >"$1.new" && mv "$1.new" "$1"; shift; exec "$@"' "$name" "$state/pids/$name" "$@"
    ) </dev/null >>"$state/logs/$name.log" 2>&1 &
    wait_until 10 "$name to start" test -e "$state/pids/$name" || fail "$name doesn't start: $state/logs/$name.log"
}

program_lives() {
    local name=$1 id
    id=$(cat "$state/pids/$name" 2>/dev/null) && in_node kill -0 "$id" 2>/dev/null
}

program_ended() { ! program_lives "$1"; }

# end_program NAME SIGNAL: by its id, and wait until it is gone.
end_program() {
    local name=$1 signal=$2
    program_lives "$name" || return 0
    in_node kill "-$signal" "$(cat "$state/pids/$name")" || true
    wait_until 15 "$name to end" program_ended "$name"
}

# End every process of the cluster. They are known by their cgroup, so this
# works as well when the state folder is gone or half written.
end_node() {
    local process
    # First the kubelet, so that it doesn't start again what ends.
    if node_lives; then
        end_program kubelet KILL || true
        kill -KILL "$(node_holder)" 2>/dev/null || true
    fi
    local end=$((SECONDS + 30))
    until no_cgroup_process; do
        for process in $(cgroup_processes); do
            kill -KILL "$process" 2>/dev/null || true
        done
        ((SECONDS < end)) || fail "these processes of the cluster don't end: $(cgroup_processes | tr '\n' ' ')"
        sleep 0.1
    done
    wait_until 20 "the cgroups of /$cgroup to go away" remove_cgroups ||
        fail "these cgroups can't be removed: $(cgroup_directories | tr '\n' ' ')"
}
