package engine

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// connPool hands out at most max connections, first come first served.
type connPool struct {
	mu     sync.Mutex
	max    int
	closed bool
	// Places taken: connections in use, being dialled, or idle.
	open int
	// The last one used is the first to be used again: it is warm.
	idle    []*conn
	waiters []*waiter
}

// waiter is a call that found all places taken. It is sent a connection, or nil for a place in
// which to dial one.
type waiter struct{ ready chan *conn }

// take returns a connection, or nil and a place for the caller to dial in, waiting for one to
// come free until the context or the deadline ends. waited tells whether it had to.
func (p *connPool) take(ctx context.Context, deadline time.Time) (c *conn, waited bool, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, false, nil
	}
	if p.open < p.max {
		p.open++
		p.mu.Unlock()
		return nil, false, nil
	}
	w := &waiter{make(chan *conn, 1)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	c, err = p.wait(ctx, deadline, w)
	return c, true, err
}

func (p *connPool) wait(ctx context.Context, deadline time.Time, w *waiter) (*conn, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var err error
	select {
	case c, ok := <-w.ready:
		if !ok {
			return nil, ErrClosed
		}
		return c, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = context.DeadlineExceeded
	}
	if !p.forget(w) {
		// It was handed something in this very moment: pass it on.
		if c, ok := <-w.ready; ok && !p.give(c) {
			c.close()
		}
	}
	return nil, fmt.Errorf("engine: wait for one of %d connections: %w; raise MaxConns if this is common", p.max, err)
}

func (p *connPool) forget(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiters {
		if other == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// give returns a connection, or with nil the place of one that is gone. It reports false where
// the pool is closed and the caller has to close the connection.
func (p *connPool) give(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.open--
		return c == nil
	}
	if len(p.waiters) > 0 {
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		w.ready <- c
		return true
	}
	if c == nil {
		p.open--
	} else {
		p.idle = append(p.idle, c)
	}
	return true
}

// drop takes the idle connections out that keep is false for, and returns them to be closed.
func (p *connPool) drop(keep func(*conn) bool) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var dropped []*conn
	kept := p.idle[:0]
	for _, c := range p.idle {
		if keep(c) {
			kept = append(kept, c)
		} else {
			dropped = append(dropped, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.open -= len(dropped)
	return dropped
}

// close refuses further calls, wakes those that wait, and returns the idle connections to be
// closed. Those in use are closed when they are given back.
func (p *connPool) close() []*conn {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.waiters {
		close(w.ready)
	}
	p.waiters = nil
	p.mu.Unlock()
	return p.drop(func(*conn) bool { return false })
}
