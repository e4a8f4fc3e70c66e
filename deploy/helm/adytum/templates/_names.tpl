{{/*
Names of objects: the release's, so that a namespace can have several; or the reference
deployment's (referenceNames), one of each a namespace.
*/}}

{{- define "adytum.names" -}}
{{- if .Values.referenceNames -}}
broker:
  app: init-ra-server
  deployment: init-ra-server-deployment
  container: init-ra-server-1
  service: init-ra-server-svc
  state: init-ra-server-state
  genesis: adytum-genesis
serving:
  app: tf-demo
  deployment: tf-demo-deployment
  container: tf-demo-1
  service: tf-demo-svc
  models: tf-demo-models
  monitoring: tf-demo-monitoring
simulation: adytum-sim
pccs: pccs
{{- else -}}
broker:
  app: {{ .Release.Name }}-broker
  deployment: {{ .Release.Name }}-broker
  container: broker
  service: {{ .Release.Name }}-broker
  state: {{ .Release.Name }}-broker-state
  genesis: {{ .Release.Name }}-genesis
serving:
  app: {{ .Release.Name }}-serving
  deployment: {{ .Release.Name }}-serving
  container: serving
  service: {{ .Release.Name }}-serving
  models: {{ .Release.Name }}-models
  monitoring: {{ .Release.Name }}-monitoring
simulation: {{ .Release.Name }}-simulation
pccs: {{ .Release.Name }}-pccs
{{- end }}
{{- end }}

{{/* Where collateral comes from: in simulation the platform is a PCCS too. */}}
{{- define "adytum.pccs-url" -}}
{{- $names := fromYaml (include "adytum.names" .) }}
{{- .Values.pccsUrl | default (printf "http://%s:8081" (ternary $names.pccs "pccs" (eq .Values.tee "simulation"))) }}
{{- end }}
