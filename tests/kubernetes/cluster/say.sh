# shellcheck shell=bash
# Messages for the person who runs this, and waiting with an end.

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'cluster.sh: %s\n' "$*" >&2
    exit 1
}

# wait_until SECONDS WHAT COMMAND...: try the command until it succeeds or the
# seconds are over.
wait_until() {
    local seconds=$1 what=$2
    shift 2
    local end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            say "waited $seconds s for: $what"
            return 1
        fi
        sleep 0.2
    done
}
