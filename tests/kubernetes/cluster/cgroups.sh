# shellcheck shell=bash
# The cluster's cgroups: everything it runs is under one name, so that all its
# processes are found even after a crash half-way, and their CPU use is known.

# The hierarchies: one for each controller (version 1), or a single one.
cgroup_hierarchies() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        echo /sys/fs/cgroup
    else
        local each
        for each in /sys/fs/cgroup/*/; do
            [[ -e $each/cgroup.procs ]] && echo "${each%/}"
        done
    fi
}

make_cgroups() {
    local hierarchy
    while read -r hierarchy; do
        mkdir -p "$hierarchy/$cgroup"
        # The root's CPUs and memory nodes: version 1 starts with none.
        if [[ -e $hierarchy/$cgroup/cpuset.cpus && ! -e $hierarchy/cgroup.controllers ]]; then
            cat "$hierarchy/cpuset.cpus" >"$hierarchy/$cgroup/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" >"$hierarchy/$cgroup/cpuset.mems"
            echo 1 >"$hierarchy/$cgroup/cgroup.clone_children"
        fi
        if [[ -e $hierarchy/cgroup.controllers ]]; then
            local controller
            for controller in $(<"$hierarchy/cgroup.controllers"); do
                echo "+$controller" >"$hierarchy/cgroup.subtree_control" || true
                echo "+$controller" >"$hierarchy/$cgroup/cgroup.subtree_control" || true
            done
        fi
        mkdir -p "$hierarchy/$cgroup/system"
    done < <(cgroup_hierarchies)
}

# Put the calling process under the cluster's own programs.
enter_system_cgroup() {
    local hierarchy
    while read -r hierarchy; do
        echo "$BASHPID" >"$hierarchy/$cgroup/system/cgroup.procs"
    done < <(cgroup_hierarchies)
}

cgroup_directories() {
    local hierarchy
    while read -r hierarchy; do
        [[ ! -d $hierarchy/$cgroup ]] || find "$hierarchy/$cgroup" -depth -type d 2>/dev/null || true
    done < <(cgroup_hierarchies)
}

# Every process of the cluster, by id.
cgroup_processes() {
    local directory
    while read -r directory; do
        cat "$directory/cgroup.procs" 2>/dev/null || true
    done < <(cgroup_directories) | sort -nu
}

no_cgroup_process() { [[ -z $(cgroup_processes) ]]; }

# Directories of ended containers go away a moment after their processes.
remove_cgroups() {
    local directory
    while read -r directory; do
        rmdir "$directory" 2>/dev/null || true
    done < <(cgroup_directories)
    [[ -z $(cgroup_directories) ]]
}

# CPU seconds used under a part of the cluster: system or kubepods.
cgroup_cpu_seconds() {
    local part=$1 nanoseconds
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        nanoseconds=$(awk '$1 == "usage_usec" { print $2 * 1000 }' "/sys/fs/cgroup/$cgroup/$part/cpu.stat")
    else
        nanoseconds=$(<"/sys/fs/cgroup/cpuacct/$cgroup/$part/cpuacct.usage")
    fi
    awk -v nanoseconds="$nanoseconds" 'BEGIN { printf "%.3f\n", nanoseconds / 1e9 }'
}
