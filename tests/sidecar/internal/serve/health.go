package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// An engine that answered so recently is not asked again.
	healthFresh = 500 * time.Millisecond
	pingTimeout = 2 * time.Second
)

// alive returns nil if the engine answers, or has just done so.
func (s *engineSource) alive(ctx context.Context) error {
	if time.Since(time.Unix(0, s.answered.Load())) < healthFresh {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err == nil {
		_, err = client.Ping(ctx)
		err = unlessAnswered(err)
	}
	s.heard(err)
	return err
}

// health answers /health the way the mount reads it: it wants "healthy" and enabled, and says in its log whether
// connected.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	type rdma struct {
		Enabled   bool `json:"enabled"`
		Connected bool `json:"connected"`
	}
	answer := struct {
		Status    string `json:"status"`
		RDMA      rdma   `json:"rdma"`
		Source    source `json:"source"`
		Error     string `json:"error,omitempty"`
		Timestamp string `json:"timestamp"`
	}{"healthy", rdma{Enabled: true, Connected: true}, sourceEngine, "", time.Now().UTC().Format(time.RFC3339)}
	status := http.StatusOK
	if s.engine == nil {
		answer.Source, answer.RDMA.Connected = sourceHTTP, false
	} else if err := s.engine.alive(r.Context()); err != nil {
		answer.Status, answer.RDMA.Connected, answer.Error = "unhealthy", false, err.Error()
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// It fails only where the client has gone.
	_ = json.NewEncoder(w).Encode(v)
}
