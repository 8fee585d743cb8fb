{{- define "repruv.processes" -}}
{{ .Files.Get "files/processes.yaml" }}
{{- end }}

{{- define "repruv.selector" -}}
app.kubernetes.io/name: repruv
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "repruv.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "repruv.selector" .name | nindent 2 }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* Settings and secrets come first: Kubernetes replaces $(NAME) by variables that were defined before. */ -}}
{{- define "repruv.environment" -}}
{{- $values := .root.Values }}
{{- range $name := .process.settings }}
{{- if not (hasKey $values.settings $name) }}{{ fail (printf "settings.%s is missing" $name) }}{{ end }}
{{- $value := get $values.settings $name | toString }}
{{- if and (not $value) (has $name (list "PUBLIC_URL" "TRUSTED_PROXIES" "POSTGRES_HOSTS" "NATS_HOSTS" "EMAIL_FROM")) }}
{{- fail (printf "settings.%s is required" $name) }}
{{- end }}
{{- if $value }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- range $name := .process.secrets }}
- {name: {{ $name }}, valueFrom: {secretKeyRef: {name: {{ $values.secretName }}, key: {{ $name }}}}}
{{- end }}
{{- range $name := .process.optionalSecrets }}
- {name: {{ $name }}, valueFrom: {secretKeyRef: {name: {{ $values.secretName }}, key: {{ $name }}, optional: true}}}
{{- end }}
{{- range $name, $value := .process.environment }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range get $values.extraEnvironment .process.image | default list }}
- {{ toJson . }}
{{- end }}
{{- end }}

{{- /* The specification of a pod. `root`: the chart; `name` and `process`: of processes.yaml. */ -}}
{{- define "repruv.pod" -}}
{{- $values := .root.Values }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .process.graceSeconds (empty .process.port | ternary 0 (int $values.drainSeconds)) }}
{{- with $values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: {{ .name }}
    image: {{ required "image.registry is required" $values.image.registry }}/repruv-{{ .process.image }}:{{ $values.image.tag | default .root.Chart.AppVersion }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: {{ toJson .process.command }}
    env:
      {{- include "repruv.environment" . | nindent 6 }}
    {{- if .process.metrics }}
    ports:
      {{- if .process.port }}
      - {name: {{ eq .process.image "gateway" | ternary "http" "grpc" }}, containerPort: {{ .process.port }}}
      {{- end }}
      {{- if ne (.process.port | default 0 | int) (.process.metrics | int) }}
      - {name: metrics, containerPort: {{ .process.metrics }}}
      {{- end }}
    # On a busy node a start takes minutes: liveness must not end it.
    startupProbe:
      httpGet: {path: /healthz, port: {{ .process.metrics }}}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 60
    # A thread answers /healthz, with 503 when the loops of a worker are stuck.
    livenessProbe:
      httpGet: {path: /healthz, port: {{ .process.metrics }}}
      periodSeconds: 15
      timeoutSeconds: 5
      failureThreshold: 4
    {{- with .process.probe }}
    readinessProbe:
      httpGet: {path: {{ (urlParse .).path }}, port: {{ last (splitList ":" (urlParse .).host) }}}
      periodSeconds: 15
      timeoutSeconds: 5
      failureThreshold: 3
    {{- end }}
    {{- if .process.port }}
    # Until callers have learned that this pod goes.
    lifecycle: {preStop: {sleep: {seconds: {{ $values.drainSeconds }}}}}
    {{- end }}
    {{- end }}
    resources: {{ toJson (get $values.processes .name).resources }}
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: certificate, mountPath: /certificates/{{ .process.certificate }}, readOnly: true}
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: certificate
    # libpq refuses a key that others may read.
    secret: {secretName: {{ $values.certificates.secretPrefix }}{{ .process.certificate }}, defaultMode: 0440}
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
{{- end }}
