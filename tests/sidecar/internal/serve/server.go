// Package serve is the sidecar that SeaweedFS's `weed mount -rdma.enabled` asks for pieces of needles over HTTP.
//
// Its one promise: a response that is complete holds exactly the bytes asked for. Whatever stands in the way is a
// status other than 200, or, once the status is out, a connection that ends before Content-Length is reached; the
// mount takes its ordinary path after both. It follows that
//
//   - a piece that reaches the end of its needle is refused ([cutError] says why);
//   - nothing is written from a lease that may have ended ([lease.send]).
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// How long a client may take to send its request's header.
	headerTimeout = 5 * time.Second
	// How long a connection may wait for its next request.
	idleTimeout = 90 * time.Second
	// The most bytes of a request's header; net/http allows itself 4 KiB more.
	maxHeaderBytes = 8 << 10
	// Connections that may be open for each request that may be under way. Those over it wait in the kernel.
	connsPerRequest = 4
)

// Server answers one listener. Make it with [New], and call [Server.Serve] once.
type Server struct {
	opts    Options
	log     *slog.Logger
	engine  *engineSource // nil where there is none
	volumes *volumeServers
	metrics *metrics
	started time.Time
	// Holds a token for every read under way.
	slots chan struct{}
}

// New makes a Server. The engine need not be running yet.
func New(o Options) (*Server, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	volumes, err := newVolumeServers(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, log: opts.Log, volumes: volumes, started: time.Now(),
		slots: make(chan struct{}, opts.MaxRequests),
	}
	if opts.Engine.Socket != "" {
		s.engine = newEngineSource(opts)
	}
	s.metrics = newMetrics(s)
	return s, nil
}

// Serve answers connections of l until ctx ends. Then it takes no new ones, lets the requests under way finish for
// up to [Options.StopTimeout], and cuts off the rest. It closes l, and returns nil after an orderly stop.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:                      http.HandlerFunc(s.route),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout,
		// Each read sets an earlier one of its own once its bytes are there.
		WriteTimeout:   headerTimeout + 2*s.opts.Timeout + s.opts.WriteTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	if s.engine != nil {
		defer s.engine.close()
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(limitConns(l, connsPerRequest*s.opts.MaxRequests)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.log.Info("stopping", "in_flight", len(s.slots))
	grace, cancel := context.WithTimeout(context.Background(), s.opts.StopTimeout)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests still under way are cut off", "in_flight", len(s.slots), "after", s.opts.StopTimeout)
		err = server.Close()
	}
	return err
}

// route answers a request. Paths are taken as they are: none is redirected to another.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	method, answer := http.MethodGet, http.HandlerFunc(nil)
	switch r.URL.Path {
	case "/read":
		answer = s.read
	case "/health":
		answer = s.health
	case "/stats":
		answer = s.stats
	case "/metrics":
		answer = s.metrics.handler
	case "/cleanup":
		method, answer = http.MethodDelete, cleanup
	default:
		http.Error(w, "there is only /read, /health, /stats, /metrics and /cleanup", http.StatusNotFound)
		return
	}
	switch {
	case r.Method != method:
		w.Header().Set("Allow", method)
		http.Error(w, r.URL.Path+" takes "+method+" only", http.StatusMethodNotAllowed)
	case r.ContentLength != 0:
		w.Header().Set("Connection", "close")
		http.Error(w, "a request here has no body", http.StatusBadRequest)
	default:
		answer(w, r)
	}
}
