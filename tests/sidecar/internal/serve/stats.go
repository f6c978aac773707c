package serve

import (
	"net/http"
	"strings"
	"time"
)

// stats answers /stats: what /metrics has of the sidecar's own counts, for people to read. A count by label is an
// object.
func (s *Server) stats(w http.ResponseWriter, _ *http.Request) {
	families, err := s.metrics.registry.Gather()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := map[string]any{"uptime_seconds": time.Since(s.started).Seconds()}
	for _, family := range families {
		name, own := strings.CutPrefix(family.GetName(), metricPrefix)
		if !own || family.GetMetric()[0].GetHistogram() != nil {
			continue
		}
		byLabel := map[string]float64{}
		for _, m := range family.GetMetric() {
			// One of the two is nil, and its value 0.
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if len(m.GetLabel()) == 0 {
				answer[name] = value
			} else {
				byLabel[m.GetLabel()[0].GetValue()] = value
			}
		}
		if len(byLabel) > 0 {
			answer[name] = byLabel
		}
	}
	writeJSON(w, http.StatusOK, answer)
}
