# shellcheck shell=bash
# Programs that are not the measured ones. Sourced by walkthrough.sh.

part_impostors() {
    check "a replica with another measured configuration never becomes ready and says why" wrong_measurement
    check "restarts of many such pods don't exhaust the broker" many_impostors
}

# The same image, and a configuration in which one thing is another.
impostor() {
    sed 's/^format = .*/&\nallow_plain_models = true/' "$owner/public/workload.toml" >"$work/workload.toml"
    kubectl create configmap impostor --from-file "workload.toml=$work/workload.toml" --dry-run=client -o yaml |
        kubectl apply -f - >/dev/null
    kubectl get deployment tf-demo-deployment -o json >"$work/genuine.json"
    python3 - "$work/genuine.json" "$1" <<'PYTHON' | kubectl apply -f - >/dev/null
import json, sys
genuine = json.load(open(sys.argv[1]))
pod = genuine["spec"]["template"]
pod["metadata"]["labels"] = {"app": "impostor", "adytum/workload": "true"}
pod["spec"].pop("topologySpreadConstraints", None)
pod["spec"]["volumes"] = [{"name": "impostor", "configMap": {"name": "impostor"}}]
container = pod["spec"]["containers"][0]
container["resources"]["requests"] = {"cpu": "10m", "memory": "32Mi"}
container["volumeMounts"] = [{"name": "impostor", "mountPath": "/etc/adytum/workload.toml", "subPath": "workload.toml"}]
json.dump({
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "impostor", "labels": {"app": "impostor"}},
    "spec": {"replicas": int(sys.argv[2]), "selector": {"matchLabels": {"app": "impostor"}}, "template": pod},
}, sys.stdout)
PYTHON
}

restarted_impostors() {
    [[ $(kubectl get pods -l app=impostor -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount}{"\n"}{end}' |
        awk '{ sum += $1 } END { print sum + 0 }') -ge $1 ]]
}

termination_messages() {
    kubectl get pods -l app=impostor \
        -o 'jsonpath={.items[*].status.containerStatuses[*].lastState.terminated.message}{.items[*].status.containerStatuses[*].state.terminated.message}'
}
terminated_with() { termination_messages | grep "$1" >/dev/null; }

wrong_measurement() {
    impostor 1
    eventually 60 terminated_with policy-refused || {
        kubectl get pods -l app=impostor -o yaml | tail -n 60
        return 1
    }
    termination_messages | cut -c 1-300 | sed 's/^/    /'
    echo
    kubectl logs -l app=impostor --tail=20 | grep policy-refused >/dev/null &&
        [[ $(kubectl get deployment impostor -o 'jsonpath={.status.readyReplicas}') == "" ]]
}

many_impostors() {
    impostor 12
    eventually 120 restarted_impostors 12 || return
    # Those who may have secrets get them meanwhile.
    kubectl rollout restart deployment/tf-demo-deployment >/dev/null && rolled_out 120 || return
    kubectl delete deployment impostor --timeout 60s >/dev/null
    classifies
}
