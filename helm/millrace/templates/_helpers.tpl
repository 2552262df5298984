{{/* The prefix of every object: the release's name, with the chart's unless it is part of it. */}}
{{- define "millrace.prefix" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What every object carries, beside what selects it. */}}
{{- define "millrace.labels" -}}
app.kubernetes.io/part-of: millrace
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* What selects the pods of one service; takes (dict "root" $ "name" service). Never changes: selectors are immutable. */}}
{{- define "millrace.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/name: {{ .name }}
{{- end -}}

{{- define "millrace.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := printf "%s-%s" $image.repository .name -}}
{{- if $image.registry -}}{{- $repository = printf "%s/%s" $image.registry $repository -}}{{- end -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}

{{/* One service's values: its own over the defaults, as YAML. */}}
{{- define "millrace.service" -}}
{{- $service := index .root.Values.services .name -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy $service) | toYaml -}}
{{- end -}}

{{/* log-ingest -> LOG_INGEST: what the environment variables of a service start with. */}}
{{- define "millrace.variablePrefix" -}}
{{- . | replace "-" "_" | upper -}}
{{- end -}}

{{/* kafka.sasl_username -> ORDER__KAFKA__SASL_USERNAME; takes (dict "name" service "setting" name). */}}
{{- define "millrace.variable" -}}
{{- printf "%s__%s" (include "millrace.variablePrefix" .name) (.setting | replace "." "__" | upper) -}}
{{- end -}}

{{/* A setting's value as text: Helm reads every number as a float and would write 1000000 as 1e+06. */}}
{{- define "millrace.text" -}}
{{- if kindIs "slice" . -}}{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}{{- int64 . -}}
{{- else -}}{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Settings that everything which talks to Kafka shares, as YAML. */}}
{{- define "millrace.kafkaSettings" -}}
{{- $kafka := .Values.stores.kafka -}}
kafka.brokers: {{ $kafka.brokers | quote }}
kafka.security_protocol: {{ $kafka.securityProtocol | quote }}
kafka.sasl_mechanism: {{ $kafka.saslMechanism | quote }}
{{- if .Values.stores.ca.configMap }}
kafka.ca_file: /etc/millrace/ca/{{ .Values.stores.ca.key }}
{{- end }}
{{- end -}}

{{/* Settings that everything which talks to PostgreSQL shares, as YAML. */}}
{{- define "millrace.postgresSettings" -}}
{{- $postgres := .Values.stores.postgres -}}
database.host: {{ $postgres.host | quote }}
database.port: {{ $postgres.port }}
database.tls: {{ $postgres.tls | quote }}
{{- if .Values.stores.ca.configMap }}
database.tls_ca_file: /etc/millrace/ca/{{ .Values.stores.ca.key }}
{{- end }}
{{- end -}}

{{/* All settings of one service that are no secrets, as YAML; takes root, name and service (its merged values). */}}
{{- define "millrace.settings" -}}
{{- $values := .root.Values -}}
http.port: {{ $values.ports.http }}
http.admin_port: {{ $values.ports.admin }}
auth.issuer: {{ $values.auth.issuer | quote }}
auth.audience: {{ $values.auth.audience | quote }}
auth.jwks_file: /etc/millrace/jwks/{{ $values.auth.jwks.key }}
shutdown.drain_delay: {{ printf "%ds" (int $values.shutdown.drainDelaySeconds) }}
shutdown.budget: {{ printf "%ds" (int $values.shutdown.budgetSeconds) }}
telemetry.log_level: {{ $values.telemetry.logLevel | quote }}
telemetry.otlp_endpoint: {{ $values.telemetry.otlpEndpoint | quote }}
telemetry.sample_ratio: {{ $values.telemetry.sampleRatio }}
{{ include "millrace.kafkaSettings" .root }}
{{- with .service.database }}
{{ include "millrace.postgresSettings" $.root }}
database.name: {{ .name | quote }}
database.user: {{ .user | quote }}
database.pool_max: {{ .poolMax }}
{{- end }}
{{- if .service.redis }}
redis.host: {{ $values.stores.redis.host | quote }}
redis.port: {{ $values.stores.redis.port }}
redis.tls: {{ $values.stores.redis.tls }}
{{- if $values.stores.ca.configMap }}
redis.tls_ca_file: /etc/millrace/ca/{{ $values.stores.ca.key }}
{{- end }}
{{- end }}
{{- if eq .name "gateway" }}
{{- range $upstream, $_ := $values.services }}
{{- if ne $upstream "gateway" }}
upstreams.{{ $upstream | replace "-" "_" }}: {{ printf "http://%s-%s:%d" (include "millrace.prefix" $.root) $upstream (int $values.ports.http) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The same with the service's own settings over them, as a map of environment variables. */}}
{{- define "millrace.variables" -}}
{{- $settings := include "millrace.settings" . | fromYaml -}}
{{- range $setting, $value := .service.settings -}}
{{- if or (has $setting (list "http.port" "http.admin_port")) (hasPrefix "shutdown." $setting) -}}
{{- fail (printf "services.%s.settings: %s is set by ports or shutdown, which the probes and the grace period also follow" $.name $setting) -}}
{{- end -}}
{{- if include "millrace.wanted" (dict "root" $.root "setting" $setting) -}}
{{- $_ := set $settings $setting $value -}}
{{- end -}}
{{- end -}}
{{- range $setting, $value := $settings }}
{{ include "millrace.variable" (dict "name" $.name "setting" $setting) }}: {{ include "millrace.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* Empty for Kafka's user and password where Kafka asks for none: their Secrets need not exist then. */}}
{{- define "millrace.wanted" -}}
{{- if or (not (hasPrefix "kafka.sasl_" .setting)) (hasPrefix "SASL_" .root.Values.stores.kafka.securityProtocol) -}}
yes
{{- end -}}
{{- end -}}

{{/* Environment entries of settings whose values stand in a Secret; takes root, name and secrets. */}}
{{- define "millrace.secretVariables" -}}
{{- range $setting, $reference := .secrets }}
{{- if include "millrace.wanted" (dict "root" $.root "setting" $setting) }}
- name: {{ include "millrace.variable" (dict "name" $.name "setting" $setting) }}
  valueFrom:
    secretKeyRef:
      name: {{ $reference.name }}
      key: {{ $reference.key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Namespace rules of Pod Security «restricted», on every pod and container of this chart. */}}
{{- define "millrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "millrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Refuses more replicas than PostgreSQL has connections for. A rolling update runs one replica more for a while. */}}
{{- define "millrace.checkConnections" -}}
{{- $sum := 0 -}}
{{- $terms := list -}}
{{- range $name, $_ := .Values.services -}}
{{- $service := include "millrace.service" (dict "root" $ "name" $name) | fromYaml -}}
{{- with $service.database -}}
{{- $replicas := int $service.replicas -}}
{{- if $service.autoscaling.enabled -}}{{- $replicas = int $service.autoscaling.maxReplicas -}}{{- end -}}
{{- $each := add (int .poolMax) (int .ownConnections) -}}
{{- $sum = add $sum (mul $each (add $replicas 1)) -}}
{{- $terms = append $terms (printf "%s %d x %d" $name $each (add $replicas 1)) -}}
{{- end -}}
{{- end -}}
{{- $postgres := .Values.stores.postgres -}}
{{- $free := sub (int $postgres.maxConnections) (int $postgres.reservedConnections) -}}
{{- if gt (int $sum) (int $free) -}}
{{- fail (printf "connection budget: at most replicas (and one more while updating) the services open %d connections (%s), but stores.postgres leaves %d (maxConnections less reservedConnections); lower database.poolMax or maxReplicas, or raise max_connections" (int $sum) (join ", " $terms) (int $free)) -}}
{{- end -}}
{{- end -}}

{{/* Names are looked up somewhere in the cluster, over both protocols. */}}
{{- define "millrace.egressNames" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* The brokers' ports, each once. */}}
{{- define "millrace.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.stores.kafka.brokers -}}
{{- $ports = append $ports (. | trim | splitList ":" | last) -}}
{{- end -}}
{{- range uniq $ports }}
- port: {{ . | int }}
{{- end }}
{{- end -}}

{{/* A job that runs before services are installed or upgraded; takes root, name, arguments, prefix (of variables),
settings (a map) and secrets. Its pod may write nothing, has no API token and is not tried for ever. */}}
{{- define "millrace.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "millrace.prefix" .root }}-{{ .name }}
  labels:
    {{- include "millrace.labels" .root | nindent 4 }}
    app.kubernetes.io/instance: {{ .root.Release.Name }}
    app.kubernetes.io/component: job
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "0"
    # A failed job stays, with its log, until the next attempt.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels:
        {{- include "millrace.labels" .root | nindent 8 }}
        app.kubernetes.io/instance: {{ .root.Release.Name }}
        app.kubernetes.io/component: job
    spec:
      restartPolicy: Never
      serviceAccountName: {{ include "millrace.prefix" .root }}-job
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        {{- include "millrace.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "millrace.image" (dict "root" .root "name" "cli") }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: {{ toJson .arguments }}
          env:
            {{- range $setting, $value := .settings }}
            {{- if include "millrace.wanted" (dict "root" $.root "setting" $setting) }}
            - name: {{ include "millrace.variable" (dict "name" "millrace" "setting" $setting) }}
              value: {{ include "millrace.text" $value | quote }}
            {{- end }}
            {{- end }}
            {{- include "millrace.secretVariables" (dict "root" .root "name" "millrace" "secrets" .secrets) | trim | nindent 12 }}
          securityContext:
            {{- include "millrace.containerSecurity" .root | nindent 12 }}
          resources:
            {{- toYaml .root.Values.jobs.resources | nindent 12 }}
          {{- if .root.Values.stores.ca.configMap }}
          volumeMounts:
            - name: ca
              mountPath: /etc/millrace/ca
              readOnly: true
          {{- end }}
      {{- if .root.Values.stores.ca.configMap }}
      volumes:
        - name: ca
          configMap:
            name: {{ .root.Values.stores.ca.configMap }}
      {{- end }}
{{- end -}}
