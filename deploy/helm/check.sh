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

# What all renderings have: the reference's names, which the overlays have.
values=(--values "$here/reference.yaml")

render() {
    local images=()
    if [[ $1 == tdx || $1 == snp ]]; then
        images=(--set "broker.image=demo/init_ra_server@$digest" --set "serving.image=demo/tf_demo@$digest")
    fi
    "$helm" template adytum "$chart" "${values[@]}" --set "tee=$1" --set broker.initData=QQ== --set serving.initData=QQ== \
        "${images[@]}" --kube-version 1.30.0 --skip-tests "${@:2}"
}

# One form for both: Kustomize sorts objects and fields, and what Helm marks its
# objects with is left out.
canonical() {
    local directory
    directory=$(mktemp -d -p "$work")
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
render simulation --set serving.autoscaling.enabled=true | grep 'kind: HorizontalPodAutoscaler' >/dev/null ||
    fail "autoscaling renders no HorizontalPodAutoscaler"
render sgx --set-string broker.genesis='format = "x"' | grep 'name: adytum-genesis' >/dev/null ||
    fail "a genesis renders no ConfigMap"
# An image of its own for one part leaves the others as they are.
render sgx --set broker.image=demo/init_ra_server:former >"$work/images"
grep -q 'image: demo/init_ra_server:former$' "$work/images" || fail "broker.image is not rendered"
grep -q 'image: demo/tf_demo:[0-9.]*$' "$work/images" || fail "broker.image changes the model servers' image"
mirrors=$(render snp --set amdKdsUrl=http://kds.example | grep -c 'value: http://kds.example$')
[[ $mirrors == 2 ]] || fail "amdKdsUrl is rendered $mirrors times, not for broker and model servers"

# field JSONPATH: a field of each object that is read, one line each, by kubectl itself.
field() { kubectl annotate --local -f - check=read -o "jsonpath={$1}{'\n'}"; }
# deployment OPTION...: the model servers' Deployment.
deployment() { render "$@" --show-only templates/serving.yaml | awk -v RS='---\n' '/kind: Deployment/'; }
# expect EXPECTED FOUND WHAT
expect() { [[ $2 == "$1" ]] || fail "$3: expected '$1', found '$2'"; }

# Names are the release's, so two releases share none in a namespace.
(
    values=()
    render simulation >"$work/own"
    ! grep -nE '(init-ra-server|tf-demo)' "$work/own" || fail "the reference's names are outside of reference.yaml"
    "$helm" template second "$chart" --set tee=simulation --kube-version 1.30.0 --skip-tests | grep -E '^  name: ' |
        sort >"$work/second"
    shared=$(grep -E '^  name: ' "$work/own" | sort | comm -12 - "$work/second")
    [[ -z $shared ]] || fail "two releases share $shared"
    grep -q 'value: adytum-broker:5000$' "$work/own" || fail "the model servers don't know the broker's name"
)
# Several models are in a file, which the server reads again.
cat >"$work/several.yaml" <<'END'
serving:
  models:
    - {name: digits, basePath: /models/digits, versions: {specific: [1, 2]}, labels: {stable: 1}}
    - {name: resnet, basePath: /models/resnet, versions: {latest: 2}}
    - {name: all, basePath: /models/all, versions: {all: true}}
  monitoring: {enabled: true}
  arguments: [--rest_api_port=8501]
  volumes: [{name: more, persistentVolumeClaim: {claimName: models}}]
  volumeMounts: [{name: more, mountPath: /models/all, readOnly: true}]
END
arguments=$(deployment sgx --values "$work/several.yaml" | field .spec.template.spec.containers[0].args)
for argument in --model_config_file=/etc/adytum-models/models.config --rest_api_port=8501 \
    --monitoring_config_file=/etc/adytum-monitoring/monitoring.config; do
    [[ $arguments == *"\"$argument\""* ]] || fail "$argument is not among $arguments"
done
[[ $arguments != *--model_name* ]] || fail "one model is named by a flag, though there is a file"
mounts=$(deployment sgx --values "$work/several.yaml" | field .spec.template.spec.containers[0].volumeMounts[*].mountPath)
expect "/etc/adytum-models /etc/adytum-monitoring /models/all" "$mounts" "the mounts of several models"
render sgx --values "$work/several.yaml" --show-only templates/serving.yaml | awk -v RS='---\n' '/models.config:/' |
    field .data.models\\.config | tr -s ' \n' ' ' >"$work/config"
expect 'model_config_list { config { name: "digits" base_path: "/models/digits" model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } } config { name: "resnet" base_path: "/models/resnet" model_version_policy { latest { num_versions: 2 } } } config { name: "all" base_path: "/models/all" model_version_policy { all {} } } } ' \
    "$(cat "$work/config")" "the file of several models"
# An object store: fetched before the server starts, and while it runs.
cat >"$work/sources.yaml" <<'END'
serving:
  models: [{name: digits, basePath: /models/digits}]
  sources:
    - model: digits
      address: s3://bucket/digits
      versions: latest:2
      watch: true
      interval: 1m
      delete: true
      credentials: s3-credentials
      environment: {AWS_REGION: eu-central-1}
      certificateAuthorities: s3-ca
networkPolicies:
  sources: [{ipBlock: {cidr: 192.0.2.7/32}}]
  sourcePorts: [443, 9000]
END
deployment sgx --values "$work/sources.yaml" >"$work/deployment"
pod=.spec.template.spec
expect '["--versions=latest:2","s3://bucket/digits","/models/digits"]' \
    "$(field $pod.initContainers[0].args <"$work/deployment")" "the container that fetches first"
expect '["--watch","--interval=1m","--delete","--versions=latest:2","s3://bucket/digits","/models/digits"]' \
    "$(field $pod.containers[1].args <"$work/deployment")" "the container that goes on"
expect '["/usr/bin/adytum","model","pull"]' "$(field $pod.containers[1].command <"$work/deployment")" "its command"
expect s3-credentials "$(field $pod.containers[1].envFrom[0].secretRef.name <"$work/deployment")" "its credentials"
expect "AWS_REGION SSL_CERT_FILE" "$(field $pod.containers[1].env[*].name <"$work/deployment")" "its environment"
expect true "$(field $pod.containers[1].securityContext.readOnlyRootFilesystem <"$work/deployment")" "its confinement"
expect "/models/digits true" \
    "$(field "$pod.containers[0].volumeMounts[0]['mountPath','readOnly']" <"$work/deployment")" "the server's view"
# The server itself gets no credentials of a store.
expect "" "$(field $pod.containers[0].envFrom <"$work/deployment")" "the server's credentials"
expect "source-0 source-0-authorities" "$(field $pod.volumes[*].name <"$work/deployment")" "the volumes"
expect 10Gi "$(field $pod.volumes[0].emptyDir.sizeLimit <"$work/deployment")" "the size of the volume"
render sgx --values "$work/sources.yaml" --show-only templates/network-policies.yaml | grep -A4 '192.0.2.7/32' |
    grep 'port: 9000' >/dev/null || fail "the pods can't reach their source"
expect '{"claimName":"models"}' "$(deployment sgx --values "$work/sources.yaml" \
    --set 'serving.sources[0].claim=models' | field $pod.volumes[0].persistentVolumeClaim)" "a claim for a source"
# Replicas by the length of the queue.
render sgx --set serving.autoscaling.enabled=true --set serving.autoscaling.queue.enabled=true \
    --set serving.monitoring.enabled=true --show-only templates/serving.yaml |
    awk -v RS='---\n' '/kind: HorizontalPodAutoscaler/' | field .spec.metrics[1].pods.metric.name >"$work/metric"
expect adytum_queue_length "$(cat "$work/metric")" "the metric of the queue"
grep -q "as: $(cat "$work/metric")$" "$here/prometheus-adapter.yaml" || fail "prometheus-adapter.yaml has no such metric"

# A client with the proxy next to it.
genesis=$(printf '5a%.0s' {1..32})
echo 'format = "x"' >"$work/service.toml"
client=(--set client.enabled=true --set client.image=example/client:1 --set "client.genesis=$genesis"
    --set-file "client.service=$work/service.toml")
render sgx "${client[@]}" --show-only templates/client.yaml >"$work/client"
awk -v RS='---\n' '/kind: Deployment/' "$work/client" >"$work/client.deployment"
expect '["--listen=127.0.0.1:8500","--server=adytum-replicas:9001","--attest=/etc/adytum/service/service.toml","--genesis='"$genesis"'"]' \
    "$(field $pod.initContainers[0].args <"$work/client.deployment")" "the proxy next to a client"
expect Always "$(field $pod.initContainers[0].restartPolicy <"$work/client.deployment")" "the proxy's restarts"
expect example/client:1 "$(field $pod.containers[0].image <"$work/client.deployment")" "the client"
expect None "$(awk -v RS='---\n' '/kind: Service/' "$work/client" | field .spec.clusterIP)" "the name of all replicas"
render sgx "${client[@]}" --set client.server=models.example.org:8500 --show-only templates/client.yaml >"$work/elsewhere"
grep -q -e '--server=models.example.org:8500$' "$work/elsewhere" || fail "client.server is not rendered"
! grep -q 'kind: Service$' "$work/elsewhere" || fail "a name of replicas that are elsewhere"
# The same with Kustomize, for any client.
cp -r "$here/../sidecar" "$work/sidecar"
cp "$work/service.toml" "$work/sidecar/example/service.toml"
kubectl kustomize "$work/sidecar/example" >"$work/example"
awk -v RS='---\n' '/kind: Deployment/' "$work/example" >"$work/example.deployment"
expect adytum-proxy "$(field $pod.initContainers[*].name <"$work/example.deployment")" "the proxy in the example"
expect client "$(field $pod.containers[*].name <"$work/example.deployment")" "the client in the example"
for part in securityContext.capabilities securityContext.readOnlyRootFilesystem volumeMounts restartPolicy resources; do
    expect "$(field $pod.initContainers[0].$part <"$work/client.deployment")" \
        "$(field $pod.initContainers[0].$part <"$work/example.deployment")" "$part of the proxy in chart and example"
done
grep -q 'name: adytum-service-' "$work/example" || fail "the example's ConfigMap is not named in its pod"

# What the schema or the chart must refuse.
refused sgx "${client[@]}" --set client.genesis=
refused sgx "${client[@]}" --set client.genesis=5a
refused sgx "${client[@]}" --set client.image=
refused sgx --set client.enabled=true --set client.image=example/client:1 --set "client.genesis=$genesis"
refused sgx "${client[@]}" --set client.server=models.example.org
refused sgx --set serving.autoscaling.enabled=true --set serving.autoscaling.queue.enabled=true
refused sgx --values "$work/sources.yaml" --set 'serving.sources[0].model=other'
refused sgx --values "$work/sources.yaml" --set 'networkPolicies.sources=null'
refused sgx --values "$work/sources.yaml" --set 'serving.sources[0].address=ftp://host'
refused sgx --set 'serving.models[0].versions.latest=0'
refused tdx --values "$work/sources.yaml"

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
    refused "$tee" --set broker.image=demo/init_ra_server:0.2.0
    refused "$tee" --set serving.image=demo/tf_demo@sha256:5a
done
refused sgx --set 'broker.image=demo image'
# A simulation that does not say so on every object is none of ours.
objects=$(render simulation | grep -c '^kind:')
named=$(render simulation | grep -c '^    adytum/tee: simulation')
[[ $objects == "$named" ]] || fail "of $objects simulated objects $named say so"
echo "the chart is sound"
