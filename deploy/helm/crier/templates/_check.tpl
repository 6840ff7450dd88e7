{{- /* What the schema cannot tell: every fault at once, each by its value's name. */ -}}
{{- define "crier.check" -}}
{{- $v := .Values }}
{{- $faults := list }}
{{- if not $v.image.repository }}{{ $faults = append $faults "image.repository: is required: where you have pushed the image of deploy/Dockerfile" }}{{ end }}
{{- if not (or $v.image.tag $v.image.digest) }}{{ $faults = append $faults "image.tag: is required, or image.digest" }}{{ end }}
{{- if not $v.redis.existingSecret }}{{ $faults = append $faults "redis.existingSecret: is required: the name of a secret that holds REDIS_URL" }}{{ end }}
{{- if not $v.chat.org }}{{ $faults = append $faults "chat.org: is required" }}{{ end }}
{{- if not $v.chat.app }}{{ $faults = append $faults "chat.app: is required" }}{{ end }}
{{- $token := $v.chat.token.existingSecret }}
{{- $client := or $v.chat.client.id $v.chat.client.existingSecret }}
{{- if and $token $client }}
{{- $faults = append $faults "chat.token: is given together with chat.client: one of the two" }}
{{- else if $client }}
{{- if not $v.chat.client.id }}{{ $faults = append $faults "chat.client.id: is required beside chat.client.existingSecret" }}{{ end }}
{{- if not $v.chat.client.existingSecret }}{{ $faults = append $faults "chat.client.existingSecret: is required beside chat.client.id" }}{{ end }}
{{- else if not $token }}
{{- $faults = append $faults "chat.token.existingSecret: is required, or chat.client.id and chat.client.existingSecret" }}
{{- end }}
{{- if $v.gateway.enabled }}
{{- if not $v.gateway.apiKeys.existingSecret }}{{ $faults = append $faults "gateway.apiKeys.existingSecret: is required with the gateway: the name of a secret that holds API keys" }}{{ end }}
{{- if and $v.serviceMonitor.enabled (not $v.serviceMonitor.apiKey.existingSecret) }}{{ $faults = append $faults "serviceMonitor.apiKey.existingSecret: is required with the gateway: its /metrics needs an API key" }}{{ end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.gatewayFrom) }}{{ $faults = append $faults "networkPolicy.gatewayFrom: is required with the gateway: nobody could reach it" }}{{ end }}
{{- end }}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) }}{{ $faults = append $faults "serviceAccount.name: is required with serviceAccount.create: false" }}{{ end }}
{{- if and $v.serviceAccount.create $v.serviceAccount.name }}{{ $faults = append $faults "serviceAccount.name: is of one that exists, so it needs serviceAccount.create: false" }}{{ end }}
{{- with $faults }}{{ fail (printf "\n%s" (join "\n" .)) }}{{ end }}
{{- end }}
