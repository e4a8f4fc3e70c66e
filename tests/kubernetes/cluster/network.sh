# shellcheck shell=bash
# The one link between this machine and the node. The node has no route to
# anywhere else: nothing it runs can reach further than this machine.

node_address() { cat "$state/node.address" 2>/dev/null; }

# A /30 of which nothing is in use here.
free_link_network() {
    local third used
    used=$(ip -4 -o addr show; ip -4 route show table all)
    for third in $(seq 0 255); do
        if ! grep -qF "10.213.$third." <<<"$used"; then
            echo "10.213.$third"
            return
        fi
    done
    fail "no free network among 10.213.0.0/16 for the link to the node"
}

link_node() {
    local network holder
    network=$(free_link_network)
    holder=$(node_holder)
    ip link add "$link" type veth peer name eth0 netns "$holder"
    ip addr add "$network.1/30" dev "$link"
    ip link set "$link" up
    in_node_network ip link set lo up
    in_node_network ip addr add "$network.2/30" dev eth0
    in_node_network ip link set eth0 up
    # Service addresses are rewritten by kube-proxy; until it does, packets to
    # them end on the link, where nobody has these addresses.
    in_node_network ip route add "$service_range" dev eth0 src "$network.2"
    echo "$network.2" >"$state/node.address"
}

unlink_node() {
    ! ip link show "$link" >/dev/null 2>&1 || ip link delete "$link"
}
