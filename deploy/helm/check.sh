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

render() {
    "$helm" template adytum "$chart" --set "tee=$1" --set broker.initData=QQ== --set serving.initData=QQ== \
        --kube-version 1.30.0 --skip-tests "${@:2}"
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
done

"$helm" lint --strict "$chart" --set tee=simulation
for tee in simulation sgx tdx snp; do
    same "$tee"
done
render simulation --set serving.autoscaling.enabled=true | grep -q 'kind: HorizontalPodAutoscaler' ||
    fail "autoscaling renders no HorizontalPodAutoscaler"
render sgx --set-string broker.genesis='format = "x"' | grep -q 'name: adytum-genesis' ||
    fail "a genesis renders no ConfigMap"
# What the schema or the chart must refuse.
refused hope
refused sgx --set serving.replicas=-1
refused sgx --set pccsUrl=ftp://pccs
refused sgx --set unknown=1
refused tdx --set broker.initData=
# A simulation that does not say so on every object is none of ours.
objects=$(render simulation | grep -c '^kind:')
named=$(render simulation | grep -c '^    adytum/tee: simulation')
[[ $objects == "$named" ]] || fail "of $objects simulated objects $named say so"
echo "the chart is sound"
