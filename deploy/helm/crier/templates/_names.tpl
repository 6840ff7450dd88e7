{{- define "crier.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- if not (contains $name .Release.Name) }}{{ $name = printf "%s-%s" .Release.Name $name }}{{ else }}{{ $name = .Release.Name }}{{ end }}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "crier.selector" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "crier.labels" -}}
{{ include "crier.selector" . }}
app.kubernetes.io/part-of: crier
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* name, namespace and labels of an object of a component (or "" for those of all) */ -}}
{{- define "crier.metadata" -}}
name: {{ include "crier.fullname" .root }}{{ with .component }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "crier.labels" (dict "root" .root "component" (.component | default "all")) | nindent 2 }}
{{- end }}

{{- define "crier.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ include "crier.fullname" . }}{{ else }}{{ .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "crier.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}
