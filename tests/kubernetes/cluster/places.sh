# shellcheck shell=bash disable=SC2034
# Where things are, and the names and addresses that are fixed. All addresses
# but the link's are used inside the node's own network namespace only.

components_source=$here/components
manifests=$here/manifests

# The version of a module that the components are built from.
pinned() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$components_source/go.mod"; }

kubernetes_version=$(pinned k8s.io/kubernetes)
coredns_image=adytum.invalid/coredns:$(pinned github.com/coredns/coredns)
pause_image=adytum.invalid/pause:1
smoke_image=adytum.invalid/smoke:1

cache=${ADYTUM_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/adytum-kubernetes}

# A checkout has a state folder of its own, so that two can have clusters at once.
state=${ADYTUM_CLUSTER_STATE:-${TMPDIR:-/tmp}/adytum-kubernetes-$(printf '%s' "$here" | sha256sum | cut -c1-8)}
[[ $state == /* ]] || state=$PWD/$state

# Names this cluster's cgroup and network link among others.
instance=$(printf '%s' "$state" | sha256sum | cut -c1-8)
cgroup=adytum-$instance
link=adytum$instance

node_name=adytum-node
service_range=10.96.0.0/16
service_api=10.96.0.1
service_dns=10.96.0.10
pod_range=10.244.0.0/16
