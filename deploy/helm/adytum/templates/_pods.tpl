{{/*
What the pods have in common.
*/}}

{{- define "adytum.image" -}}
{{ .root.Values.images.registry }}/{{ .name }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The image of a part that may name its own. With a confidential guest it is named by digest, as in its init-data. */}}
{{- define "adytum.part-image" -}}
{{- $image := .image | default (include "adytum.image" .) }}
{{- if and (has .root.Values.tee (list "tdx" "snp")) (not (regexMatch "@sha256:[0-9a-f]{64}$" $image)) }}
{{- fail (printf "%s.image: %s: expected NAME@sha256:.. with tee: %s, since a tag can be moved and the guest's policy names a digest" .key $image .root.Values.tee) }}
{{- end }}
{{- $image }}
{{- end }}

{{- define "adytum.labels" -}}
app: {{ .app }}
app.kubernetes.io/name: {{ .app }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- include "adytum.tee-label" .root }}
{{- end }}

{{- define "adytum.tee-label" }}
adytum/tee: {{ .Values.tee }}
{{- end }}

{{- define "adytum.annotations" -}}
{{- if eq .Values.tee "simulation" }}
annotations:
  adytum/warning: "SIMULATION: nothing here is protected from the administrators of the cluster"
{{- end }}
{{- end }}

{{/* Annotations of a pod: what protects it, and with a confidential guest what may run in it. */}}
{{- define "adytum.pod-annotations" -}}
{{- if eq .root.Values.tee "simulation" }}
annotations:
  adytum/warning: "SIMULATION: nothing here is protected from the administrators of the cluster"
{{- else if has .root.Values.tee (list "tdx" "snp") }}
annotations:
  io.katacontainers.config.hypervisor.cc_init_data: {{ required (printf "%s.initData: make it with `adytum init-data new`; without it the guest runs whatever the host says" .key) .initData | quote }}
{{- end }}
{{- end }}

{{- define "adytum.runtime-class" -}}
{{- if has .Values.tee (list "tdx" "snp") }}
runtimeClassName: {{ get .Values.kata.runtimeClassName .Values.tee }}
{{- end }}
{{- end }}

{{- define "adytum.tee-env" -}}
{{- if eq .Values.tee "simulation" }}
- name: ADYTUM_TEE
  value: simulation=http://{{ (fromYaml (include "adytum.names" .)).simulation }}:8081
{{- else if has .Values.tee (list "tdx" "snp") }}
- name: ADYTUM_TEE
  value: tsm
{{- end }}
{{- end }}

{{/* Limits, with those of the SGX device plugin. */}}
{{- define "adytum.resources" -}}
{{- $limits := deepCopy (.resources.limits | default dict) }}
{{- if eq .root.Values.tee "sgx" }}
{{- $_ := set $limits "sgx.intel.com/epc" .epc }}
{{- $_ := set $limits "sgx.intel.com/enclave" "1" }}
{{- $_ := set $limits "sgx.intel.com/provision" "1" }}
{{- end }}
{{- toYaml (dict "requests" (.resources.requests | default dict) "limits" $limits) }}
{{- end }}

{{- define "adytum.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* SGX nodes by the label that Node Feature Discovery gives with the plugin's rules. */}}
{{- define "adytum.placement" -}}
{{- if .part.nodeSelector }}
nodeSelector:
  {{- toYaml .part.nodeSelector | nindent 2 }}
{{- else if eq .root.Values.tee "sgx" }}
nodeSelector:
  intel.feature.node.kubernetes.io/sgx: "true"
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "adytum.pull-secrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where collateral comes from, as peers of a network policy: with tee: simulation the
simulated platform, which is a PCCS too. */}}
{{- define "adytum.collateralPeers" -}}
{{- if eq .Values.tee "simulation" -}}
- podSelector:
    matchLabels:
      app: {{ (fromYaml (include "adytum.names" .)).simulation }}
{{- else -}}
{{- toYaml .Values.networkPolicies.collateral }}
{{- end -}}
{{- end }}
