package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rdma-engine/sidecar/engine"
)

// metricPrefix begins the name of every metric of the sidecar itself.
const metricPrefix = "sidecar_"

// source is where bytes came from.
type source string

const (
	sourceEngine source = "engine"
	sourceHTTP   source = "http"
)

// metrics are the server's, in a registry of their own. All label values exist from the start.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	fallbacks *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	handler   http.HandlerFunc
}

func newMetrics(s *Server) *metrics {
	counters := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("sidecar_reads_total", "result",
			"Requests to /read by how they ended. cut: the piece reaches the needle's end. aborted: the response was begun and not completed."),
		bytes: counters("sidecar_read_bytes_total", "source",
			"Bytes of completed responses to /read by where they came from."),
		fallbacks: counters("sidecar_fallbacks_total", "result",
			"Reads the engine failed that were tried over SeaweedFS's HTTP."),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sidecar_read_duration_seconds",
			Help:    "Time from a request to /read to the end of its response, by how it ended.",
			Buckets: []float64{50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 500e-3, 1, 5, 10},
		}, []string{"result"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sidecar_reads_in_flight",
			Help: "Requests to /read under way.",
		}),
	}
	for _, r := range results {
		m.requests.WithLabelValues(string(r))
		m.durations.WithLabelValues(string(r))
	}
	for _, from := range []source{sourceEngine, sourceHTTP} {
		m.bytes.WithLabelValues(string(from))
	}
	for _, r := range []string{"success", "failure"} {
		m.fallbacks.WithLabelValues(r)
	}
	m.registry.MustRegister(m.requests, m.bytes, m.fallbacks, m.durations, m.inFlight,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.engine != nil {
		m.registerEngine(s.engine)
	}
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP
	return m
}

// registerEngine adds what the client of the engine counts.
func (m *metrics) registerEngine(from *engineSource) {
	counter := func(name, help string, value func(engine.Stats) uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value(from.stats())) }))
	}
	counter("sidecar_engine_leases_total", "Leases the engine granted.", func(s engine.Stats) uint64 { return s.Reads })
	counter("sidecar_engine_restarts_total", "Restarts of the engine noticed.", func(s engine.Stats) uint64 { return s.Remaps })
	counter("sidecar_engine_waits_total", "Reads that waited for a connection to the engine.", func(s engine.Stats) uint64 { return s.Waits })
	counter("sidecar_engine_complete_errors_total", "Leases whose end the engine did not agree to.", func(s engine.Stats) uint64 { return s.CompleteErrors })
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sidecar_engine_connections", Help: "Connections to the engine for reads.",
	}, func() float64 { return float64(from.stats().OpenConns) }))
}

func (m *metrics) observe(a answered, took time.Duration) {
	m.requests.WithLabelValues(string(a.result)).Inc()
	m.durations.WithLabelValues(string(a.result)).Observe(took.Seconds())
	if a.result == served {
		m.bytes.WithLabelValues(string(a.source)).Add(float64(a.bytes))
	}
}

func (m *metrics) fellBack(err error) {
	if err != nil {
		m.fallbacks.WithLabelValues("failure").Inc()
	} else {
		m.fallbacks.WithLabelValues("success").Inc()
	}
}
