{{/* The endpoint of a ServiceMonitor or PodMonitor. Takes root and monitor, its values. */}}
{{- define "klag-trio.endpoint" -}}
{{- $given := .monitor.additionalEndpointConfig }}
{{- $endpoint := dict "port" "http" "path" "/metrics" }}
{{- if include "klag-trio.web.tls" .root }}{{ $_ := set $endpoint "scheme" "https" }}{{ end }}
{{- range $name := list "interval" "scrapeTimeout" "honorLabels" "relabelings" "metricRelabelings" }}
{{- with get $.monitor $name }}{{ $_ := set $endpoint $name . }}{{ end }}
{{- end }}
{{- mergeOverwrite $endpoint (deepCopy $given) | toYaml }}
{{- end }}
