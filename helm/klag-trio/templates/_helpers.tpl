{{- define "klag-trio.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names of Services have at most 63 characters. */}}
{{- define "klag-trio.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "klag-trio.selectorLabels" -}}
app.kubernetes.io/name: {{ include "klag-trio.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pod of `helm test`, which no selector of the others may match. */}}
{{- define "klag-trio.testLabels" -}}
app.kubernetes.io/name: {{ include "klag-trio.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "klag-trio.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "klag-trio.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of every object but the pods. Takes root, and where they differ: name, namespace, labels, annotations. */}}
{{- define "klag-trio.metadata" -}}
metadata:
  name: {{ .name | default (include "klag-trio.fullname" .root) }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  labels:
    {{- include "klag-trio.labels" .root | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "klag-trio.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "klag-trio.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "klag-trio.image" -}}
{{- $image := .Values.image -}}
{{- $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/*
A duration such as "1m 30s" in nanoseconds; nothing where it comes from the environment. Takes root and duration.
*/}}
{{- define "klag-trio.nanoseconds" -}}
{{- if not (contains "${" .duration) }}
{{- $units := .root.Files.Get "files/nanoseconds.json" | fromJson }}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9.]+\\s*[^0-9.\\s]+" .duration -1 }}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" .) (get $units (regexFind "[^0-9.\\s]+" .))) }}
{{- end }}
{{- $sum }}
{{- end }}
{{- end }}

{{/*
The configuration as JSON: the values, with what the chart decides where they leave it open. klag-exporter's chart
spells tables of exporter as keys with a dot, and a cluster's properties too: both spellings are taken.
*/}}
{{- define "klag-trio.config" -}}
{{- $exporter := deepCopy (.Values.config.exporter | default dict) }}
{{- range $name := list "timestamp_sampling" "performance" "otel" "leadership" }}
{{- with get $.Values.config (printf "exporter.%s" $name) }}
{{- $_ := set $exporter $name (mergeOverwrite (deepCopy .) (get $exporter $name | default dict)) }}
{{- end }}
{{- end }}
{{- if not (hasKey $exporter "http_port") }}{{ $_ := set $exporter "http_port" 8000 }}{{ end }}

{{- $leadership := get $exporter "leadership" | default dict }}
{{- $several := gt (int .Values.replicaCount) 1 }}
{{- if not (hasKey $leadership "enabled") }}{{ $_ := set $leadership "enabled" $several }}{{ end }}
{{- if and $several (not $leadership.enabled) }}
{{- fail "replicaCount: more than one replica without config.exporter.leadership.enabled would each collect and serve every series" }}
{{- end }}
{{- if $leadership.enabled }}
{{- if not $leadership.lease_name }}{{ $_ := set $leadership "lease_name" (include "klag-trio.fullname" .) }}{{ end }}
{{- if not $leadership.lease_namespace }}{{ $_ := set $leadership "lease_namespace" .Release.Namespace }}{{ end }}
{{- else }}
{{- if not $leadership.lease_namespace }}{{ $_ := unset $leadership "lease_namespace" }}{{ end }}
{{- end }}
{{- /* 0 is a grace period too, which `default` would take for none. */}}
{{- $grace := 5 }}
{{- if hasKey $leadership "grace_period_secs" }}{{ $grace = $leadership.grace_period_secs }}{{ end }}
{{- $duration := $leadership.lease_duration_secs | default 15 }}
{{- if not (or (kindIs "string" $grace) (kindIs "string" $duration) (lt (int $grace) (int $duration))) }}
{{- fail (printf "config.exporter.leadership.grace_period_secs: expected less than lease_duration_secs: the lease would run out before it is renewed, found %v" $grace) }}
{{- end }}
{{- $_ := set $exporter "leadership" $leadership }}

{{- with $exporter.staleness_threshold }}
{{- $interval := $exporter.poll_interval | default "30s" }}
{{- $least := include "klag-trio.nanoseconds" (dict "root" $ "duration" $interval) }}
{{- $threshold := include "klag-trio.nanoseconds" (dict "root" $ "duration" .) }}
{{- if and $least $threshold (lt (float64 $threshold) (float64 $least)) }}
{{- fail (printf "config.exporter.staleness_threshold: expected poll_interval or more: clusters would drop out of /metrics between cycles, found %s" .) }}
{{- end }}
{{- end }}

{{- $clusters := list }}
{{- $taken := dict }}
{{- if .Values.bootstrapServers }}{{ $_ := set $taken .Values.clusterName "clusterName" }}{{ end }}
{{- range $index, $_ := .Values.config.clusters }}
{{- with get $taken .name }}
{{- fail (printf "config.clusters[%d].name: expected another name than %s has" $index .) }}
{{- end }}
{{- $_ := set $taken .name (printf "clusters[%d]" $index) }}
{{- $cluster := omit . "clusters.consumer_properties" }}
{{- with get . "clusters.consumer_properties" }}
{{- $_ := set $cluster "consumer_properties" (mergeOverwrite (deepCopy .) (get $cluster "consumer_properties" | default dict)) }}
{{- end }}
{{- $clusters = append $clusters $cluster }}
{{- end }}
{{- with .Values.bootstrapServers }}
{{- $clusters = prepend $clusters (dict "name" $.Values.clusterName "bootstrap_servers" .) }}
{{- end }}
{{- if not $clusters }}
{{- fail "bootstrapServers: set it to the brokers of your cluster, such as \"kafka:9092\", or list clusters under config.clusters" }}
{{- end }}
{{- dict "exporter" $exporter "clusters" $clusters | toRawJson }}
{{- end }}

{{- define "klag-trio.config.toml" -}}
{{- $config := include "klag-trio.config" . | fromJson }}
{{- include "klag-trio.toml" (dict "table" (pick $config "exporter")) | trim }}
{{ include "klag-trio.toml" (dict "table" (pick $config "clusters")) }}
{{- end }}
