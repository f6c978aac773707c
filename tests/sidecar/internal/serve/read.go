package serve

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Headers of a response to /read.
const (
	// "true" if the bytes came through the engine. The mount uses no others.
	headerUsed = "X-RDMA-Used"
	// How they came: "verbs" is RDMA; "local", "tcp" and "http" are not.
	headerTransport = "X-RDMA-Transport"
	// Whether the checksum stored with the needle was checked and matched. It covers the needle whole, and can not
	// be checked on a range of an uncompressed one.
	headerVerified = "X-RDMA-CRC-Verified"
	// The CRC-32C of the bytes, in hexadecimal, as the engine computed it when they landed.
	headerCRC = "X-RDMA-CRC32C"
)

// read answers /read.
func (s *Server) read(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	s.metrics.inFlight.Inc()
	a := s.answer(w, r)
	s.metrics.inFlight.Dec()
	took := time.Since(started)
	s.metrics.observe(a, took)
	if s.opts.LogRequests {
		s.log.Info("read", "query", r.URL.RawQuery, "result", a.result, "bytes", a.bytes, "took", took, "error", a.err)
	}
	if a.result == aborted {
		panic(http.ErrAbortHandler) // closes the connection, so that the response stays short
	}
}

// answered is what became of a read.
type answered struct {
	result result
	// Of a response that was completed.
	bytes  uint64
	source source
	err    error
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) answered {
	p, err := parsePiece(r.URL.RawQuery, s.opts.MaxSize)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return answered{result: badRequest, err: err}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "as many reads as may be are under way", http.StatusServiceUnavailable)
		return answered{result: busy}
	}
	body, err := s.open(r.Context(), p)
	if err != nil {
		f := failureOf(err)
		if f.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, err.Error(), f.status)
		return answered{result: f.result, err: err}
	}
	defer body.close()
	return s.send(w, p, body)
}

// open brings a piece: through the engine, and by HTTP where the engine fails and that is allowed.
func (s *Server) open(ctx context.Context, p *piece) (payload, error) {
	if s.engine == nil {
		return s.volumes.open(ctx, p, s.opts.Timeout)
	}
	limited, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	body, err := s.engine.open(limited, p)
	cancel()
	if err == nil || len(s.volumes.allowed) == 0 || !failureOf(err).fallBack() || ctx.Err() != nil {
		return body, err
	}
	body, err = s.volumes.open(ctx, p, s.opts.Timeout)
	s.metrics.fellBack(err)
	return body, err
}

// send writes the response.
func (s *Server) send(w http.ResponseWriter, p *piece, body payload) answered {
	h := w.Header()
	body.describe(h)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatUint(p.Size, 10))
	if err := body.send(w, time.Now().Add(s.opts.WriteTimeout)); err != nil {
		return answered{result: aborted, source: body.source(), err: err}
	}
	return answered{result: served, bytes: p.Size, source: body.source()}
}

// cleanup answers the mount's request to remove a temporary file. None is ever made, and no file is touched.
func cleanup(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"success": true, "message": "no temporary files are made here, so nothing was removed"})
}
