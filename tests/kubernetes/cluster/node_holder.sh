#!/usr/bin/env bash
# Process 1 of the node: prepares its mounts, then holds its namespaces and
# reaps what its programs leave. Started by cluster.sh inside new namespaces.
set -euo pipefail
state=$1
name=$2

# Before the new /proc is there this is the id that the machine knows us by.
read -r holder _ </proc/self/stat
mount -t proc proc /proc

hostname "$name"

# Folders that the node's programs write to by fixed names stay in the node.
for folder in /run /var/lib /var/log; do
    mount -t tmpfs -o mode=755 node "$folder"
done
mkdir -p /run/containerd /run/netns /var/log/containers

# The kubelet wants these settings of the kernel, and the kernel has them once
# for the whole machine. It is shown the values it wants; the machine keeps its own.
masked() {
    local file=$1 value=$2
    [[ -e /proc/sys/$file ]] || return 0
    mkdir -p "$state/sysctl/$(dirname "$file")"
    echo "$value" >"$state/sysctl/$file"
    mount --bind "$state/sysctl/$file" "/proc/sys/$file"
}
masked vm/overcommit_memory 1
masked vm/panic_on_oom 0
masked kernel/panic 10
masked kernel/panic_on_oops 1
masked kernel/keys/root_maxkeys 1000000
masked kernel/keys/root_maxbytes 25000000

echo 1 >/proc/sys/net/ipv4/ip_forward
[[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

echo "$holder" >"$state/node.holder"
touch "$state/node.ready"

# bash reaps every child that ends, orphans of the node included.
while :; do
    sleep infinity &
    wait "$!" || true
done
