# shellcheck shell=bash
# Checks, waiting, and figures. Sourced by walkthrough.sh.

passed=0

# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if ! "$@"; then
        {
            kubectl get pods -o wide
            kubectl get events --sort-by=.lastTimestamp | tail -n 20
            kubectl logs -l app=init-ra-server --tail=20
            kubectl logs -l app=tf-demo --tail=20
        } >&2 2>&1 || true
        # Last, where a log that is cut still has it.
        echo "FAILED: $what" >&2
        echo "$passed passed, 1 failed"
        exit 1
    fi
    echo "ok: $what"
    passed=$((passed + 1))
}

# eventually SECONDS COMMAND...: it becomes true before the seconds are over.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.2
    done
}

# figure NAME VALUE: printed now and in the end.
figure() {
    echo "    $1: $2"
    printf '%-52s %s\n' "$1" "$2" >>"$work/figures"
}

# met GOAL COMMAND...: is a goal met? Speed is measured, not asserted: this machine may
# do other things.
met() {
    local goal=$1
    shift
    if "$@"; then figure "  goal: $goal" met; else figure "  goal: $goal" MISSED; fi
}

# at_least VALUE BOUND, at_most VALUE BOUND: of decimal numbers.
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

# Of numbers, a line each.
median() { sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# Seconds since some moment, with a fraction.
now() { awk '{ print $1 }' /proc/uptime; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }
