package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"rdma-engine/sidecar/engine"
)

const (
	// The most time a connection to the engine may take to be made.
	dialTimeout = 2 * time.Second
	// How long an engine that could not be reached at start is left alone before the next attempt.
	redialDelay = 200 * time.Millisecond
	// A lease ends this long after the last moment it may be needed.
	leaseSpare = time.Second
)

// payload is a piece whose bytes are at hand.
type payload interface {
	// describe sets the response's headers that say where the bytes come from.
	describe(http.Header)
	// source is how the bytes came.
	source() source
	// send writes the bytes, until the given time at most. After an error the connection has to be cut.
	send(w http.ResponseWriter, until time.Time) error
	// close lets go of what there is; after send, too.
	close()
}

// engineSource reads through the engine. It connects when it first has to, so that it can be there before the engine.
type engineSource struct {
	opts engine.Options
	// How long to ask the engine to keep the bytes of a read.
	lease time.Duration
	log   *slog.Logger
	// When the engine last answered anything, in nanoseconds since 1970.
	answered atomic.Int64
	// Whether it was missed the last time.
	down atomic.Bool

	mu       sync.Mutex
	client   *engine.Client
	closed   bool
	failed   error
	failedAt time.Time
}

func newEngineSource(o Options) *engineSource {
	opts := o.Engine
	opts.DialTimeout = min(o.Timeout, dialTimeout)
	opts.Timeout = o.Timeout
	if opts.ClientID == "" {
		opts.ClientID = "sidecar serve"
	}
	return &engineSource{opts: opts, log: o.Log, lease: o.Timeout + o.WriteTimeout + leaseSpare}
}

// connect returns the client, which finds a restarted engine by itself.
func (s *engineSource) connect(ctx context.Context) (*engine.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	if s.closed {
		return nil, engine.ErrClosed
	}
	if s.failed != nil && time.Since(s.failedAt) < redialDelay {
		return nil, s.failed
	}
	// What comes of it is for everybody: that the one who asks first has gone is not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DialTimeout)
	defer cancel()
	client, err := engine.Open(ctx, s.opts)
	if err != nil {
		s.failed, s.failedAt = unlessAnswered(err), time.Now()
		return nil, s.failed
	}
	s.client, s.failed = client, nil
	return client, nil
}

// unreachableError is an engine that can not be talked to.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// unlessAnswered makes err an unreachableError unless the engine said so, or there was no time left.
func unlessAnswered(err error) error {
	var refused *engine.Error
	if err == nil || errors.As(err, &refused) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return &unreachableError{err}
}

func (s *engineSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client != nil {
		// It fails only where it was closed before.
		_ = s.client.Close()
	}
}

// stats are the client's, all 0 before there is one.
func (s *engineSource) stats() engine.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return engine.Stats{}
	}
	return s.client.Stats()
}

// heard notes, by the error of a request to it, whether the engine is there. The log gets a line when this changes.
func (s *engineSource) heard(err error) {
	switch {
	case answers(err):
		s.answered.Store(time.Now().UnixNano())
		if s.down.CompareAndSwap(true, false) {
			s.log.Info("the engine serves again")
		}
	case !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		// A client that went says nothing of the engine, and one slow read not enough.
		s.answered.Store(0)
		if s.down.CompareAndSwap(false, true) {
			s.log.Warn("the engine serves nothing; reads are refused until it does", "error", err)
		}
	}
}

// answers reports whether a request with this error shows an engine that serves this client.
func answers(err error) bool {
	var refused *engine.Error
	if !errors.As(err, &refused) {
		return err == nil
	}
	switch refused.Code {
	case engine.ShuttingDown, engine.Unauthenticated, engine.PermissionDenied:
		return false
	}
	return true
}

// open has the engine bring a piece.
func (s *engineSource) open(ctx context.Context, p *piece) (payload, error) {
	request := p.Request
	request.Timeout = s.lease
	var view *engine.View
	client, err := s.connect(ctx)
	if err == nil {
		view, err = client.Read(ctx, request)
		err = unlessAnswered(err)
	}
	s.heard(err)
	if err != nil {
		return nil, err
	}
	err = p.check(view.NeedleSize(), uint64(view.Len()))
	if left := time.Until(view.Deadline()); err == nil && left <= leaseMargin {
		err = fmt.Errorf("the engine keeps the bytes for %v more only: raise its session_timeout_max", left)
	}
	if err != nil {
		// The bytes are not used, so that it does not matter whether they were still right.
		_ = view.Close()
		return nil, err
	}
	return &lease{view}, nil
}
