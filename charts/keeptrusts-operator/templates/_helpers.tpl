{{- define "keeptrusts-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* Up to 50 characters: with -key-editor or -emulator it still is a label's value and a Service's name. */}}
{{- define "keeptrusts-operator.fullname" -}}
{{- $name := include "keeptrusts-operator.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "keeptrusts-operator.serviceAccountName" -}}
{{- default (ternary (include "keeptrusts-operator.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What never changes of a component, by (dict "root" $ "component" …). */}}
{{- define "keeptrusts-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keeptrusts-operator.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "keeptrusts-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: keeptrusts-operator
{{ include "keeptrusts-operator.selectorLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "keeptrusts-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "keeptrusts-operator.emulatorName" -}}
{{ include "keeptrusts-operator.fullname" . }}-emulator
{{- end -}}

{{/* The Secret with the operator's own API token; nothing where a file is mounted by something else. */}}
{{- define "keeptrusts-operator.credentialSecret" -}}
{{- if .Values.emulator.enabled -}}
{{ include "keeptrusts-operator.emulatorName" . }}
{{- else -}}
{{ .Values.api.credential.secretName }}
{{- end -}}
{{- end -}}

{{/* A duration such as 1m30s in seconds. */}}
{{- define "keeptrusts-operator.seconds" -}}
{{- $units := dict "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800 -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+[smhdw]" . -1 -}}
{{- $total = add $total (mul (regexFind "[0-9]+" . | int64) (get $units (regexFind "[smhdw]" .))) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{/* What the schema can't say. Each message says the fix. */}}
{{- define "keeptrusts-operator.check" -}}
{{- $api := .Values.api -}}
{{- if .Values.emulator.enabled -}}
{{- if or $api.url $api.credential.secretName $api.credential.file -}}
{{- fail "emulator.enabled puts an emulator in the place of the token API: leave out api.url and api.credential, or set emulator.enabled=false to use a real token API." -}}
{{- end -}}
{{- if or $api.ca.secretName $api.ca.configMapName -}}
{{- fail "The emulator speaks plain HTTP: leave out api.ca, or set emulator.enabled=false." -}}
{{- end -}}
{{- else if and $api.credential.secretName $api.credential.file -}}
{{- fail "api.credential.secretName and api.credential.file are both set: keep the one that holds the operator's own API token." -}}
{{- else if not (or $api.credential.secretName $api.credential.file) -}}
{{- fail (printf "\n\napi.credential.secretName is missing: the Secret with the operator's own Keeptrusts API token. Make it from a file, so that the token isn't in your shell's history:\n\n  kubectl create secret generic keeptrusts-operator-credential --namespace %s --from-file=%s=FILE\n\nthen set api.credential.secretName=keeptrusts-operator-credential. Where something else mounts it, set api.credential.file to its path. Without an account, emulator.enabled=true tries the operator with an emulator.\n" .Release.Namespace $api.credential.secretKey) -}}
{{- end -}}
{{- if and $api.ca.secretName $api.ca.configMapName -}}
{{- fail "api.ca.secretName and api.ca.configMapName are both set: keep the one that holds the certificates." -}}
{{- end -}}
{{- if and (hasPrefix "http://" $api.url) (not $api.allowHttp) (not (regexMatch "^http://(localhost|127[.][0-9.]+|\\[::1\\])(:|/|$)" $api.url)) -}}
{{- fail "api.url is http:// and not on loopback, so the operator would refuse it: use https://, or set api.allowHttp=true and let credential and values cross the network unencrypted." -}}
{{- end -}}
{{- $lease := .Values.leaderElection -}}
{{- if $lease.enabled -}}
{{- $renew := include "keeptrusts-operator.seconds" $lease.renewDeadline | int64 -}}
{{- if ge $renew (include "keeptrusts-operator.seconds" $lease.leaseDuration | int64) -}}
{{- fail "leaderElection.renewDeadline must be less than leaderElection.leaseDuration: the holder has to give up before another replica takes over." -}}
{{- end -}}
{{- if ge (include "keeptrusts-operator.seconds" $lease.retryPeriod | int64) $renew -}}
{{- fail "leaderElection.retryPeriod must be less than leaderElection.renewDeadline: one renewal that fails must not be the last." -}}
{{- end -}}
{{- end -}}
{{- $least := add (include "keeptrusts-operator.seconds" $api.callDeadline | int64) 300 -}}
{{- if lt (.Values.terminationGracePeriodSeconds | int64) $least -}}
{{- fail (printf "terminationGracePeriodSeconds is too short: api.callDeadline and the 5 minutes in which a received value is written take %d seconds; a pod that is killed earlier loses the value. Set it to %d or more." $least $least) -}}
{{- end -}}
{{- end -}}
