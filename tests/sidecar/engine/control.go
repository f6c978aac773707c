package engine

import (
	"context"
	"sync"
	"time"
)

// control is the connection beside those of the requests. It tells the engine that this client
// is alive even when every other connection had to be closed, and so keeps its leases; and it
// carries the CompleteReads that no StartRead took along, without waiting behind requests that
// may themselves be waiting for the buffers these CompleteReads free.
type control struct {
	mu   sync.Mutex
	conn *conn
}

// flushDue runs when a CompleteRead may have waited long enough.
func (c *Client) flushDue() {
	for c.pending.due() {
		c.flush()
	}
}

// flush sends every pending CompleteRead now and waits for the replies. Where the client is
// closed and these were the last, it lets go of what the client still has.
func (c *Client) flush() {
	c.control.mu.Lock()
	defer c.control.mu.Unlock()
	c.sendPending(time.Now().Add(c.opts.Timeout))
	if c.closed.Load() && c.pending.over() {
		c.closeControl()
		c.forgetRun()
	}
}

func (c *Client) sendPending(deadline time.Time) {
	for {
		if err := c.openControl(deadline); err != nil {
			// The engine is gone, and its sessions with it.
			c.dropPending(func(*mapping) bool { return true })
			return
		}
		conn := c.control.conn
		conn.carry = c.pending.take(conn.carry[:0], conn.pool)
		if len(conn.carry) == 0 {
			c.dropPending(func(pool *mapping) bool { return pool != c.run.Load() })
			if conn.pool == c.run.Load() {
				return
			}
			// The engine was restarted meanwhile, so there may be some for the new run.
			continue
		}
		if err := c.sendCompletes(conn, deadline); err != nil {
			c.closeControl()
		}
	}
}

// dropPending gives up the CompleteReads for runs of the engine that are gone.
func (c *Client) dropPending(gone func(*mapping) bool) {
	c.stats.completesLost.Add(uint64(c.pending.drop(gone)))
}

// sendCompletes sends those in conn.carry. The last of them is the request of the round trip.
func (c *Client) sendCompletes(conn *conn, deadline time.Time) error {
	n := len(conn.carry)
	c.stats.completesFlushed.Add(uint64(n))
	last := conn.carry[n-1]
	err := conn.roundTrip(context.Background(), deadline, conn.carry[:n-1], &last.completeRead)
	if conn.broken {
		conn.owed = append(conn.owed, sentComplete{completion: last})
		return err
	}
	c.settle(last, conn.completed())
	return conn.drain()
}

// openControl makes sure there is a control connection to the newest run of the engine;
// control.mu is held. A closed client may still owe that run CompleteReads, or hold leases of it.
func (c *Client) openControl(deadline time.Time) error {
	run := c.run.Load()
	if run == nil {
		return ErrClosed
	}
	if c.control.conn != nil && c.control.conn.pool == run {
		return nil
	}
	// Nobody answers on a connection to an earlier run.
	c.closeControl()
	conn, err := c.dial(context.Background(), deadline)
	if err != nil {
		return err
	}
	c.control.conn = conn
	return nil
}

func (c *Client) closeControl() {
	if conn := c.control.conn; conn != nil {
		c.control.conn = nil
		c.requeue(conn.close())
	}
}

// renewControl replaces the control connection after a restart of the engine.
func (c *Client) renewControl() {
	c.control.mu.Lock()
	defer c.control.mu.Unlock()
	// Without one, the next CompleteRead sent alone opens it.
	_ = c.openControl(time.Now().Add(c.opts.DialTimeout))
}
