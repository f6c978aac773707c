package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Client reads needles through one engine. Its methods may be called from any number of
// goroutines.
type Client struct {
	opts    Options
	conns   connPool
	control control
	pending *completions
	stats   counters
	closed  atomic.Bool

	// The newest run of the engine seen; mu is held to replace it.
	mu  sync.Mutex
	run atomic.Pointer[mapping]
}

// Open connects to an engine and maps its pool. The context bounds this alone.
func Open(ctx context.Context, o Options) (*Client, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{opts: opts}
	c.conns.max = opts.MaxConns
	c.pending = newCompletions(opts.CompleteDelay, c.flushDue)
	conn, err := c.dial(ctx, c.deadline(ctx))
	if err != nil {
		return nil, err
	}
	c.control.conn = conn
	return c, nil
}

// Close sends the CompleteReads still pending, and closes the connections. It waits for the
// engine's replies, at most [Options.Timeout]. Calls under way finish on their connections; later
// ones, and those waiting for a connection, get [ErrClosed]. Views still open keep their leases:
// the last of them to be closed takes the Client's last connection with it.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return ErrClosed
	}
	for _, conn := range c.conns.close() {
		c.requeue(conn.close())
	}
	c.flush()
	return nil
}

// do sends m and returns the connection its reply is on, to be released by the caller. A
// connection that had been closed while it was idle is replaced, once.
func (c *Client) do(ctx context.Context, m message) (*conn, error) {
	deadline := c.deadline(ctx)
	conn, err := c.acquire(ctx, deadline)
	if err != nil {
		return nil, err
	}
	reused := conn.reused
	err = c.send(ctx, deadline, conn, m)
	if reused && errors.Is(err, errStale) {
		c.stats.retries.Add(1)
		c.requeue(conn.close())
		if conn, err = c.dialInPlace(ctx, deadline); err != nil {
			return nil, err
		}
		err = c.send(ctx, deadline, conn, m)
	}
	if err != nil {
		c.release(conn)
		return nil, err
	}
	return conn, nil
}

func (c *Client) acquire(ctx context.Context, deadline time.Time) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	conn, waited, err := c.conns.take(ctx, deadline)
	if waited {
		c.stats.waits.Add(1)
	}
	if err != nil || conn != nil {
		return conn, err
	}
	return c.dialInPlace(ctx, deadline)
}

// dialInPlace dials in a place of the pool the caller has, and gives the place up on failure.
func (c *Client) dialInPlace(ctx context.Context, deadline time.Time) (*conn, error) {
	conn, err := c.dial(ctx, deadline)
	if err != nil {
		c.conns.give(nil)
		return nil, err
	}
	return conn, nil
}

// send makes a round trip, taking pending CompleteReads along.
func (c *Client) send(ctx context.Context, deadline time.Time, conn *conn, m message) error {
	conn.carry = c.pending.take(conn.carry[:0], conn.pool)
	c.stats.completesCarried.Add(uint64(len(conn.carry)))
	return conn.roundTrip(ctx, deadline, conn.carry, m)
}

// release gives a connection back, unless it is broken or goes to a run of the engine that has
// been replaced.
func (c *Client) release(conn *conn) {
	if conn.broken || conn.pool != c.run.Load() {
		c.requeue(conn.close())
		c.conns.give(nil)
	} else if !c.conns.give(conn) {
		c.requeue(conn.close())
	}
}

// adopt returns the mapping of the run of the engine that answered, with a reference for the
// caller. The first connection to a new run maps its pool, and retires the connections to the
// old one; Views of the old pool stay readable. A closed client takes on no new run.
func (c *Client) adopt(fd int, attach attachPoolResponse, caps Capabilities) (*mapping, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.run.Load()
	if old != nil && old.bootID == attach.bootID {
		return old.retain(), nil
	}
	if c.closed.Load() {
		return nil, ErrClosed
	}
	run, err := mapPool(fd, attach, caps)
	if err != nil {
		return nil, err
	}
	c.run.Store(run.retain())
	if old == nil {
		return run, nil
	}
	c.stats.remaps.Add(1)
	for _, conn := range c.conns.drop(func(idle *conn) bool { return idle.pool == run }) {
		c.requeue(conn.close())
	}
	old.release()
	go c.renewControl()
	return run, nil
}

// forgetRun lets go of the run of the engine a closed client has seen last.
func (c *Client) forgetRun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if run := c.run.Swap(nil); run != nil {
		run.release()
	}
}
