{{- define "crier.budget" -}}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "crier.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow # who is not ready, since Redis is away, must not hold up a node
  selector:
    matchLabels:
      {{- include "crier.selector" . | nindent 6 }}
{{- end }}
{{- end }}
