// Pins the CRDs of the Prometheus operator, which the module brings as files. Nothing is built.
module keeptrusts.com/keeptrusts-operator/tools/monitoring-crds

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
