{{/* What the exporter's pods and that of `helm test` have in common. */}}
{{- define "klag-trio.podSettings" -}}
serviceAccountName: {{ include "klag-trio.serviceAccountName" . }}
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $name := list "imagePullSecrets" "nodeSelector" "tolerations" "priorityClassName" "runtimeClassName" "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with get $.Values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A probe: the values, and our path on our port unless they say how to ask. Takes root, probe and path. */}}
{{- define "klag-trio.probe" -}}
{{- if or .probe.httpGet .probe.exec .probe.tcpSocket .probe.grpc -}}
{{ toYaml .probe }}
{{- else -}}
httpGet:
  path: {{ .path }}
  port: {{ ternary "probes" "http" (eq (include "klag-trio.web" .root) "true") }}
{{- with .probe }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
