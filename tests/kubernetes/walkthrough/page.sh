# shellcheck shell=bash
# The commands of the pages, as they are printed. Sourced by walkthrough.sh.

part_page() {
    rm -f "$work/page.log"
    check "nothing is left of what was deployed before" emptied
    check "the commands of docs/helm.md work as printed" page_runs docs/helm.md
    check "the chart's replica becomes ready" \
        kubectl rollout status deployment/adytum-serving --timeout 120s
    check "the commands of docs/doctor.md and docs/engines.md work as printed" pages_run docs/doctor.md docs/engines.md
    # Its own client has an image that nobody has.
    check "the commands of docs/data-owner.md work as printed" page_for_data_owners
    check "nothing is left of it" emptied
    check "the commands of README.md work as printed" page_runs README.md
    check "its request was answered by the model" page_answered
    check "nothing is left of that" emptied
    rm -f "$work/page.log"
    check "the commands of docs/kubernetes.md work as printed" page_runs docs/kubernetes.md
    check "its requests were answered by the model" page_answered
    check "three replicas are ready, as the page scales it" eventually 120 ready_are 3
    check "the commands of docs/kubernetes-upgrade.md remove it" page_runs docs/kubernetes-upgrade.md
    check "no deployment is left" nothing_deployed
}

# The data owner has the file and the digest from the owners.
page_for_data_owners() {
    page_stage && service_exported && cp "$work/service.toml" "$work/page/" &&
        DIGEST=$(genesis_digest) page_runs docs/data-owner.md
}

pages_run() {
    local page
    for page in "$@"; do page_runs "$page" || return; done
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
page_blocks() { awk '/^```sh cluster$/ { on = 1; next } /^```/ { on = 0 } on' "$root/$1"; }

# A directory that looks like a checkout to a page. Images are those that this walkthrough has built
# and loaded, with the same script.
page_stage() {
    local stage=$work/page path
    [[ ! -d $stage ]] || return 0
    mkdir -p "$stage/deploy"
    for path in kubernetes overlays helm; do ln -s "$root/deploy/$path" "$stage/deploy/$path"; done
    # Files are put into it.
    cp -r "$root/deploy/sidecar" "$stage/deploy/sidecar"
    ln -s "$owner" "$stage/deploy/owner"
    # The model of one's own.
    cp "$root/examples/iris/model.onnx" "$stage/iris.onnx"
    # The word for help is last, so the options before it are parsed, and nothing is built.
    printf '#!/bin/sh\nexec "%s" "$@" -h\n' "$root/deploy/build.sh" >"$stage/deploy/build.sh"
    cat >"$stage/deploy/provision.sh" <<END
#!/bin/bash
set -e
broker=init-ra-server-deployment option=''
for word; do
    [[ \$option != -b ]] || broker=\$word
    option=\$word
done
kubectl rollout status "deployment/\$broker" --timeout 120s
exec "$root/deploy/provision.sh" -d "$owner" -a "$programs/adytum" "\$@"
END
    chmod +x "$stage/deploy/build.sh" "$stage/deploy/provision.sh"
}

# page_runs PAGE: the client's container is a pod.
page_runs() {
    page_stage || return
    local blocks=$work/page.sh
    page_blocks "$1" >"$blocks"
    [[ -s $blocks ]] || return
    # A shell of its own: within a condition, `set -e` has no effect.
    (
        docker() { page_docker "$@"; }
        helm() { "$root/deploy/helm/helm.sh" "$@"; }
        export -f docker helm page_docker client client_ended phase absent eventually rolled_out node_port_answers
        export here root
        cd "$work/page" && tag=$tag PATH=$programs:$PATH bash -eu "$blocks"
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
