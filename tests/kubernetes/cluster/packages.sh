# shellcheck shell=bash
# What comes from Debian: the container runtime and the network tools.

cni_programs=/usr/lib/cni

missing_tools() {
    local tool
    for tool in containerd runc ip iptables ip6tables ipset unshare nsenter setsid hostname pgrep tar sha256sum flock mount; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
    for tool in bridge host-local loopback; do
        [[ -x $cni_programs/$tool ]] || echo "$cni_programs/$tool"
    done
}

install_packages() {
    local missing
    missing=$(missing_tools | tr '\n' ' ')
    [[ -n $missing ]] || return 0
    command -v apt-get >/dev/null ||
        fail "not installed: $missing; install containerd, runc, CNI plugins, iptables, ipset, iproute2 and util-linux (only Debian's packages are installed by this script)"
    say "installing from Debian: containerd, runc, CNI plugins, iptables, ipset (missing: $missing)"
    # Debian starts services on installation; we want the programs only.
    local policy=/usr/sbin/policy-rc.d made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    local result=0
    {
        apt-get update -qq -o DPkg::Lock::Timeout=300 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends \
                containerd runc containernetworking-plugins iptables ipset iproute2 util-linux procps hostname tar
    } >"$state/logs/packages.log" 2>&1 || result=$?
    [[ -z $made ]] || rm -f "$policy"
    ((result == 0)) || fail "apt-get failed: $(tail -n 3 "$state/logs/packages.log")"
    missing=$(missing_tools | tr '\n' ' ')
    [[ -z $missing ]] || fail "still missing after the installation: $missing"
}
