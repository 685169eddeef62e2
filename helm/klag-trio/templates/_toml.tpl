{{/*
A tree of values as TOML. Whatever key is in the values is in the file: the chart knows no list of keys, and what is
allowed values.schema.json says.
*/}}

{{/* A table, its header and all below it. Takes path (nothing at the root) and table. */}}
{{- define "klag-trio.toml" -}}
{{- $path := .path | default "" -}}
{{- range $name, $value := .table }}
{{- if not (or (kindIs "map" $value) (include "klag-trio.toml.isTables" $value)) }}
{{ include "klag-trio.toml.key" $name }} = {{ include "klag-trio.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $name, $value := .table }}
{{- $below := include "klag-trio.toml.key" $name }}
{{- if $path }}{{ $below = printf "%s.%s" $path $below }}{{ end }}
{{- if kindIs "map" $value }}

[{{ $below }}]
{{- include "klag-trio.toml" (dict "path" $below "table" $value) }}
{{- else if include "klag-trio.toml.isTables" $value }}
{{- range $value }}

[[{{ $below }}]]
{{- include "klag-trio.toml" (dict "path" $below "table" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" for a list of tables, else nothing. */}}
{{- define "klag-trio.toml.isTables" -}}
{{- if and (kindIs "slice" .) . }}{{ if kindIs "map" (first .) }}true{{ end }}{{ end }}
{{- end }}

{{- define "klag-trio.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ include "klag-trio.toml.string" . }}{{ end }}
{{- end }}

{{/* A string that is nothing but ${NAME} goes without quotes: so it can stand for a number or a boolean as well. */}}
{{- define "klag-trio.toml.value" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "klag-trio.toml.value" $item }}{{ end }}]
{{- else if not (kindIs "string" .) -}}
{{ toRawJson . }}
{{- else if regexMatch "^\\$\\{\\??[A-Za-z_][A-Za-z0-9_.]*(:-[^{}'\\r\\n]*)?\\}$" . -}}
{{ . }}
{{- else -}}
{{ include "klag-trio.toml.string" . }}
{{- end -}}
{{- end }}

{{/*
JSON's escapes are TOML's. A string with characters that a YAML file or TOML must not hold as they are is put into
ASCII instead, by Go's escapes, of which TOML lacks three.
*/}}
{{- define "klag-trio.toml.string" -}}
{{- if regexMatch "[\u007f-\u009f\ufeff\ufffe\uffff]" . -}}
{{- $pieces := list }}
{{- range splitList "\\\\" (printf "%+q" .) }}
{{- $pieces = append $pieces (replace "\\a" "\\u0007" . | replace "\\v" "\\u000b" | replace "\\x" "\\u00") }}
{{- end }}
{{- join "\\\\" $pieces }}
{{- else -}}
{{ toRawJson . }}
{{- end }}
{{- end }}
