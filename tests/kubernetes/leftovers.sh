#!/usr/bin/env bash
# Does a cluster leave anything on this machine? Record what is there before
# it, compare after it.
#
#     leftovers.sh record FILE
#     leftovers.sh compare FILE     exit code 1, and the difference, if something is left
set -euo pipefail

found() {
    # Programs of a cluster, of this one or of another. A process that has
    # ended, and waits for this machine's first process to take note, is none.
    ps -eo stat=,comm= | awk '$1 !~ /^Z/ && $2 ~ /^(containerd|etcd|kube|pause|coredns|runc|nsenter|unshare)/ { print $2 }' |
        sort | uniq -c | sed 's/^/process /' || true
    awk '{ print "mount", $5, $9 }' /proc/self/mountinfo | sort
    ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print "link", $2 }' | sort
    ip -4 route show table all | sed 's/^/route /' | sort
    ip netns list | sed 's/^/netns /' | sort
    local command table
    for command in iptables ip6tables; do
        command -v "$command" >/dev/null || continue
        for table in filter nat mangle raw; do
            # An empty table and none at all are the same.
            "$command-save" -t "$table" 2>/dev/null | grep -E '^(-A|:[A-Z-]+ -)' | sed "s/^/$command $table /" || true
        done
    done
    find /sys/fs/cgroup -maxdepth 2 -name 'adytum-*' -type d 2>/dev/null | sed 's/^/cgroup /' | sort
    find /sys/fs/cgroup -maxdepth 2 -name 'kubepods*' -type d 2>/dev/null | sed 's/^/cgroup /' | sort
    find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'adytum-kubernetes-*' 2>/dev/null | sed 's/^/folder /' | sort
    find /run /var/lib /var/log -maxdepth 1 -regex '.*/\(containerd\|kubelet\|cni\|etcd\|kubernetes\|pods\|containers\)' 2>/dev/null |
        sed 's/^/folder /' | sort
    local setting
    for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
        net/ipv4/ip_forward net/ipv4/conf/all/route_localnet net/netfilter/nf_conntrack_max; do
        [[ ! -r /proc/sys/$setting ]] || echo "setting $setting $(<"/proc/sys/$setting")"
    done
}

case ${1:-}:${2:-} in
    record:?*) found >"$2" ;;
    compare:?*)
        if ! difference=$(diff --unchanged-line-format= --old-line-format='gone: %L' --new-line-format='left: %L' "$2" <(found)); then
            printf '%s\n' "$difference" >&2
            exit 1
        fi
        echo "nothing is left"
        ;;
    *)
        echo "usage: leftovers.sh record|compare FILE" >&2
        exit 2
        ;;
esac
