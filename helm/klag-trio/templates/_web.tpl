{{/* "true" where there is a web config file, else nothing. */}}
{{- define "klag-trio.web" -}}
{{- if or .Values.web.config .Values.web.existingSecret }}true{{ end }}
{{- end }}

{{/* "true" where it turns TLS on, else nothing. */}}
{{- define "klag-trio.web.tls" -}}
{{- if .Values.web.existingSecret }}
{{- if .Values.web.existingSecretTls }}true{{ end }}
{{- else }}
{{- with .Values.web.config.tls_server_config }}
{{- if or .cert .key .client_ca .cert_file .key_file .client_ca_file .client_auth_type }}true{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Fails where keys of tls_server_config contradict each other, which the schema could not say with a path. */}}
{{- define "klag-trio.web.check" -}}
{{- $tls := .Values.web.config.tls_server_config | default dict }}
{{- $path := "web.config.tls_server_config" }}
{{- range list "cert" "key" "client_ca" }}
{{- if and (get $tls .) (get $tls (printf "%s_file" .)) }}
{{- fail (printf "%s.%s: expected this or %s_file, not both" $path . .) }}
{{- end }}
{{- end }}
{{- if include "klag-trio.web.tls" . }}
{{- range list "cert" "key" }}
{{- if not (or (get $tls .) (get $tls (printf "%s_file" .))) }}
{{- fail (printf "%s.%s_file: is required for TLS" $path .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $kind := $tls.client_auth_type | default "NoClientCert" }}
{{- $asks := ne $kind "NoClientCert" }}
{{- $authorities := or $tls.client_ca $tls.client_ca_file }}
{{- if and $asks (not $authorities) }}
{{- fail (printf "%s.client_ca_file: is required for client_auth_type %s" $path $kind) }}
{{- end }}
{{- if and $authorities (not $asks) }}
{{- fail (printf "%s.client_auth_type: expected RequireAndVerifyClientCert or VerifyClientCertIfGiven beside client_ca_file: no client would be asked for a certificate" $path) }}
{{- end }}
{{- if and $tls.client_allowed_sans (ne $kind "RequireAndVerifyClientCert") }}
{{- fail (printf "%s.client_allowed_sans: needs client_auth_type RequireAndVerifyClientCert" $path) }}
{{- end }}
{{- if gt ($tls.min_version | default "TLS12") ($tls.max_version | default "TLS13") }}
{{- fail (printf "%s.min_version: expected no newer version than max_version, found %s" $path $tls.min_version) }}
{{- end }}
{{- end }}

{{- define "klag-trio.web.secretName" -}}
{{- .Values.web.existingSecret | default (printf "%s-web" (include "klag-trio.fullname" . | trunc 59 | trimSuffix "-")) }}
{{- end }}

{{/* Where the probes' listener listens: as the other one does, and at every address where only the container knows that. */}}
{{- define "klag-trio.web.probeHost" -}}
{{- $host := . | default "0.0.0.0" | trimPrefix "[" | trimSuffix "]" }}
{{- if contains "${" $host }}{{ else if contains ":" $host }}[{{ $host }}]{{ else }}{{ $host }}{{ end }}
{{- end }}
