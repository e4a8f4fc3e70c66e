#!/usr/bin/env bash
# Lints the chart, renders it for every kind of TEE, checks its values' schema, and
# compares it with the Kustomize overlays: both must say the same. Needs kubectl,
# and Go where helm is not installed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
overlays=$(dirname "$here")/overlays
chart=$here/adytum
helm=$here/helm.sh

fail() {
    echo "check.sh: $*" >&2
    exit 1
}

# Confidential guests take images by digest, so those of both sides are named so.
digest=sha256:$(printf '5a%.0s' {1..32})

render() {
    local images=()
    if [[ $1 == tdx || $1 == snp ]]; then
        images=(--set "broker.image=demo/init_ra_server@$digest" --set "serving.image=demo/tf_demo@$digest")
    fi
    "$helm" template adytum "$chart" --set "tee=$1" --set broker.initData=QQ== --set serving.initData=QQ== \
        "${images[@]}" --kube-version 1.30.0 --skip-tests "${@:2}"
}

# One form for both: Kustomize sorts objects and fields, and what Helm marks its
# objects with is left out.
canonical() {
    local directory
    directory=$(mktemp -d "$work/canonical.XXXXXX")
    cat >"$directory/objects.yaml"
    cat >"$directory/kustomization.yaml" <<'END'
resources: [objects.yaml]
sortOptions: {order: legacy}
END
    kubectl kustomize "$directory" | grep -v -e 'app\.kubernetes\.io/' -e 'helm\.sh/chart'
}

# same TEE: the chart's values by default and the overlay.
same() {
    local overlay=$work/overlays/$1
    kubectl kustomize "$overlay" | canonical >"$work/$1.overlay.yaml"
    render "$1" | canonical >"$work/$1.chart.yaml"
    [[ -s $work/$1.overlay.yaml ]] || fail "nothing was rendered for $1"
    diff -u "$work/$1.overlay.yaml" "$work/$1.chart.yaml" || fail "chart and overlay of $1 differ"
    echo "the chart and the overlay of $1 say the same"
}

refused() {
    if render "$@" >/dev/null 2>"$work/refusal"; then
        fail "these values should be refused: $*"
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/kubernetes" "$work/overlays"
cp -r "$overlays/." "$work/overlays"
cp "$here/../kubernetes/"*.yaml "$work/kubernetes"
for tee in tdx snp; do
    for part in broker serving; do
        cat >"$work/overlays/$tee/init-data-$part.yaml" <<'END'
- op: add
  path: /spec/template/metadata/annotations
  value: {}
- op: add
  path: /spec/template/metadata/annotations/io.katacontainers.config.hypervisor.cc_init_data
  value: QQ==
END
    done
    cat >>"$work/overlays/$tee/kustomization.yaml" <<END
images:
  - name: demo/init_ra_server
    digest: $digest
  - name: demo/tf_demo
    digest: $digest
END
done

"$helm" lint --strict "$chart" --set tee=simulation
for tee in simulation sgx tdx snp; do
    same "$tee"
done
render simulation --set serving.autoscaling.enabled=true | grep -q 'kind: HorizontalPodAutoscaler' ||
    fail "autoscaling renders no HorizontalPodAutoscaler"
render sgx --set-string broker.genesis='format = "x"' | grep -q 'name: adytum-genesis' ||
    fail "a genesis renders no ConfigMap"
# An image of its own for one part leaves the others as they are.
render sgx --set broker.image=demo/init_ra_server:former >"$work/images"
grep -q 'image: demo/init_ra_server:former$' "$work/images" || fail "broker.image is not rendered"
grep -q 'image: demo/tf_demo:[0-9.]*$' "$work/images" || fail "broker.image changes the model servers' image"
mirrors=$(render snp --set amdKdsUrl=http://kds.example | grep -c 'value: http://kds.example$')
[[ $mirrors == 2 ]] || fail "amdKdsUrl is rendered $mirrors times, not for broker and model servers"
# What the schema or the chart must refuse.
refused hope
refused sgx --set serving.replicas=-1
refused sgx --set pccsUrl=ftp://pccs
refused snp --set amdKdsUrl=kds
refused sgx --set unknown=1
refused tdx --set broker.initData=
for tee in tdx snp; do
    # By a tag, which is what no image of its own gives, too.
    refused "$tee" --set broker.image=
    refused "$tee" --set serving.image=
    refused "$tee" --set broker.image=demo/init_ra_server:0.29.6
    refused "$tee" --set serving.image=demo/tf_demo@sha256:5a
done
refused sgx --set 'broker.image=demo image'
# A simulation that does not say so on every object is none of ours.
objects=$(render simulation | grep -c '^kind:')
named=$(render simulation | grep -c '^    adytum/tee: simulation')
[[ $objects == "$named" ]] || fail "of $objects simulated objects $named say so"
echo "the chart is sound"
