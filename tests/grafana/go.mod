module rdma-engine/grafana

go 1.22

require (
	// Grafana's own schema. Not 0.0.18: its strict decoding answers with an empty error where all is well, and drops panels.
	github.com/grafana/grafana-foundation-sdk/go v0.0.12
	gopkg.in/yaml.v3 v3.0.1
)
