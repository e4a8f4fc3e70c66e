# shellcheck shell=bash
# The commands of docs/kubernetes.md, as they are printed. Sourced by walkthrough.sh.

part_page() {
    rm -f "$work/page.log"
    check "nothing is left of what was deployed before" emptied
    check "the commands of docs/kubernetes.md work as printed" page_runs kubernetes
    check "its requests were answered by the model" page_answered
    check "three replicas are ready, as the page scales it" eventually 120 ready_are 3
    check "the commands of docs/kubernetes-upgrade.md remove it" page_runs kubernetes-upgrade
    check "no deployment is left" nothing_deployed
}

emptied() {
    kubectl delete namespace "$namespace" --ignore-not-found --timeout 180s >/dev/null &&
        kubectl create namespace "$namespace" >/dev/null &&
        # The page's broker is a new one.
        rm -f "$ADYTUM_HEADS"
}

page_answered() { grep '^Prediction class: ' "$work/page.log" | sed 's/^/    /'; }
nothing_deployed() { [[ -z $(kubectl get deployments -o name) ]]; }

# The blocks with the mark `sh cluster`, in order.
page_blocks() { awk '/^```sh cluster$/ { on = 1; next } /^```/ { on = 0 } on' "$root/docs/$1.md"; }

# page_runs PAGE: in a directory that looks like a checkout to the page. Images are those that this
# walkthrough has built and loaded, with the same script; the client's container is a pod.
page_runs() {
    local stage=$work/page path
    if [[ ! -d $stage ]]; then
        mkdir -p "$stage/deploy"
        for path in kubernetes overlays helm; do ln -s "$root/deploy/$path" "$stage/deploy/$path"; done
        ln -s "$owner" "$stage/deploy/owner"
        # The model of one's own.
        cp "$root/examples/iris/model.onnx" "$stage/iris.onnx"
        # The word for help is last, so the options before it are parsed, and nothing is built.
        printf '#!/bin/sh\nexec "%s" "$@" -h\n' "$root/deploy/build.sh" >"$stage/deploy/build.sh"
        {
            printf '#!/bin/bash\nset -e\n'
            printf 'kubectl rollout status deployment/init-ra-server-deployment --timeout 120s\n'
            printf 'exec "%s" -d "%s" -a "%s" "$@"\n' "$root/deploy/provision.sh" "$owner" "$programs/adytum"
        } >"$stage/deploy/provision.sh"
        chmod +x "$stage/deploy/build.sh" "$stage/deploy/provision.sh"
    fi
    page_blocks "$1" >"$work/$1.sh"
    [[ -s $work/$1.sh ]] || return
    # A shell of its own: within a condition, `set -e` has no effect.
    (
        docker() { page_docker "$@"; }
        export -f docker page_docker client client_ended phase absent eventually rolled_out node_port_answers
        export here
        cd "$stage" && tag=$tag PATH=$programs:$PATH bash -eu "$work/$1.sh"
    ) >>"$work/page.log" 2>&1 || {
        sed 's/^/    /' "$work/page.log"
        return 1
    }
}

# docker run --rm --network host IMAGE COMMAND...: a pod with the host's network.
page_docker() {
    rolled_out 120 || return
    while (($# > 0)) && [[ $1 != demo/tf_demo_client:* ]]; do shift; done
    (($# > 1)) || return
    shift
    client page "$@"
}
