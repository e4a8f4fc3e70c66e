{{/*
The models: flags, or a file if there are several; and where they come from.
*/}}

{{/* One model, of which the latest version is served, needs no file. */}}
{{- define "adytum.models-in-file" -}}
{{- $first := first .Values.serving.models }}
{{- if or (gt (len .Values.serving.models) 1) $first.versions $first.labels }}yes{{ end }}
{{- end }}

{{/* A ModelServerConfig in protobuf's text format. */}}
{{- define "adytum.model-config" -}}
model_config_list {
{{- range .Values.serving.models }}
  config {
    name: {{ .name | quote }}
    base_path: {{ .basePath | quote }}
    {{- with .versions }}
    {{- if .all }}
    model_version_policy { all {} }
    {{- else if .specific }}
    model_version_policy { specific { {{- range .specific }} versions: {{ . | int64 }}{{ end }} } }
    {{- else }}
    model_version_policy { latest { num_versions: {{ .latest | int64 }} } }
    {{- end }}
    {{- end }}
    {{- range $label, $version := .labels }}
    version_labels { key: {{ $label | quote }} value: {{ $version | int64 }} }
    {{- end }}
  }
{{- end }}
}
{{- end }}

{{/* The base path of the model that a source is of. */}}
{{- define "adytum.source-path" -}}
{{- $model := .source.model }}
{{- $path := "" }}
{{- range .root.Values.serving.models }}
{{- if eq .name $model }}{{ $path = .basePath }}{{ end }}
{{- end }}
{{- required (printf "serving.sources: %s is none of serving.models" $model) $path }}
{{- end }}

{{/* Confidential guests run what their document names, and that is one container. */}}
{{- define "adytum.check-sources" -}}
{{- $serving := .Values.serving }}
{{- if and (has .Values.tee (list "tdx" "snp")) (or $serving.sources $serving.initContainers $serving.sidecars) }}
{{- fail (printf "serving.sources, initContainers and sidecars don't work with tee: %s: the guest's document (adytum init-data) allows one container; put the sealed models into the image" .Values.tee) }}
{{- end }}
{{- if and $serving.sources .Values.networkPolicies.enabled (not .Values.networkPolicies.sources) }}
{{- fail "networkPolicies.sources: name where serving.sources lead, as `to` of a NetworkPolicy has it; without it the pods reach no object store" }}
{{- end }}
{{- end }}

{{/* A container that fetches a model: once before the server starts, or all the time next to it. */}}
{{- define "adytum.pull-container" -}}
{{- $source := .source }}
- name: {{ .name }}
  image: {{ .root.Values.serving.pullImage | default (include "adytum.image" (dict "root" .root "name" "tf_demo_client")) }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command: [/usr/bin/adytum, model, pull]
  args:
    {{- if .watch }}
    - --watch
    - --interval={{ $source.interval | default "30s" }}
    {{- if $source.delete }}
    - --delete
    {{- end }}
    {{- end }}
    - --versions={{ $source.versions | default "latest" }}
    - {{ $source.address | quote }}
    - {{ .path }}
  {{- if or $source.environment $source.certificateAuthorities }}
  env:
    {{- range $name, $value := $source.environment }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
    {{- if $source.certificateAuthorities }}
    - name: SSL_CERT_FILE
      value: /etc/certificate-authorities/ca.crt
    {{- end }}
  {{- end }}
  {{- with $source.credentials }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  resources:
    requests:
      cpu: 20m
      memory: 32Mi
    limits:
      memory: 256Mi
  securityContext:
    {{- include "adytum.container-security" .root | nindent 4 }}
  volumeMounts:
    - name: {{ .volume }}
      mountPath: {{ .path }}
    {{- if $source.certificateAuthorities }}
    - name: {{ .volume }}-authorities
      mountPath: /etc/certificate-authorities
      readOnly: true
    {{- end }}
{{- end }}
