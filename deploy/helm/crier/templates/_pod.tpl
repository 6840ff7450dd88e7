{{- /* Variables from a map of settings. A large number must not become 2e+07. */ -}}
{{- define "crier.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ kindIs "float64" $value | ternary (int64 $value) $value | quote }}
{{- end }}
{{- end }}

{{- define "crier.chatEnv" -}}
- name: CHAT_ORG
  value: {{ .org | quote }}
- name: CHAT_APP
  value: {{ .app | quote }}
{{- if .token.existingSecret }}
- name: CHAT_TOKEN_FILE
  value: /run/crier/secrets/chat-token
{{- else }}
- name: CHAT_CLIENT_ID
  value: {{ .client.id | quote }}
- name: CHAT_CLIENT_SECRET_FILE
  value: /run/crier/secrets/chat-client-secret
{{- end }}
{{- end }}

{{- /* Variables of every container. .values = those of the component */ -}}
{{- define "crier.env" -}}
{{- if dig "requests" "memory" "" .values.resources -}}
- name: GOMEMLIMIT
  valueFrom: {resourceFieldRef: {resource: requests.memory}}
{{- end }}
- name: SHUTDOWN_TIMEOUT
  value: {{ printf "%ds" (int .root.Values.shutdownTimeout) | quote }}
- name: REDIS_URL_FILE
  value: /run/crier/secrets/redis-url
{{- include "crier.settings" (merge (dict) .values.settings .root.Values.settings) }}
{{- end }}

{{- /* One key of a secret as a file. */ -}}
{{- define "crier.file" -}}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key | quote }}, path: {{ .path }}}]
{{- end }}

{{- /* The volume of secrets: .chat = with those of the Chat API, .keys = with the API keys. */ -}}
{{- define "crier.volumes" -}}
{{- $v := .root.Values -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- include "crier.file" (dict "secret" $v.redis.existingSecret "key" $v.redis.key "path" "redis-url") | nindent 6 }}
      {{- if .chat }}
      {{- if $v.chat.token.existingSecret }}
      {{- include "crier.file" (dict "secret" $v.chat.token.existingSecret "key" $v.chat.token.key "path" "chat-token") | nindent 6 }}
      {{- else }}
      {{- include "crier.file" (dict "secret" $v.chat.client.existingSecret "key" $v.chat.client.key "path" "chat-client-secret") | nindent 6 }}
      {{- end }}
      {{- end }}
      {{- if .keys }}
      {{- include "crier.file" (dict "secret" $v.gateway.apiKeys.existingSecret "key" $v.gateway.apiKeys.key "path" "api-keys") | nindent 6 }}
      {{- end }}
{{- with $v.redis.tlsSecret }}
- name: redis-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "crier.mounts" -}}
- {name: secrets, mountPath: /run/crier/secrets, readOnly: true}
{{- if .Values.redis.tlsSecret }}
- {name: redis-tls, mountPath: /run/crier/redis-tls, readOnly: true}
{{- end }}
{{- end }}

{{- /* Liveness is of the process alone: while Redis is away a restart would not help. */ -}}
{{- define "crier.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{- /* How pods are replaced, and what they look like besides their container. */ -}}
{{- define "crier.rollout" -}}
replicas: {{ int .values.replicas }}
revisionHistoryLimit: 3
strategy: # a new pod is ready before an old one is told to end
  type: RollingUpdate
  rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
selector:
  matchLabels:
    {{- include "crier.selector" . | nindent 4 }}
{{- end }}

{{- /* Without the chart's version: another one alone restarts nothing. */ -}}
{{- define "crier.podMetadata" -}}
labels:
  {{- include "crier.selector" . | nindent 2 }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* .beforeStop = seconds of preStop */ -}}
{{- define "crier.pod" -}}
serviceAccountName: {{ include "crier.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
# SHUTDOWN_TIMEOUT, what preStop takes of it, and 10 s to spare
terminationGracePeriodSeconds: {{ add (int .root.Values.shutdownTimeout) (int .beforeStop) 10 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532 # may read the secrets
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.topologyKeys }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash] # or old pods would count in a rolling restart
    labelSelector:
      matchLabels:
        {{- include "crier.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "crier.container" -}}
image: {{ include "crier.image" .root.Values.image | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
