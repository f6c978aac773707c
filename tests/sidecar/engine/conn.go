package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is one connection. One goroutine uses it at a time: it sends a batch, waits for the
// answer to the last message of it, and hands the connection on.
type conn struct {
	sock *net.UnixConn
	// What the pool_offsets in this connection's replies refer to.
	pool *mapping
	out  *encoder
	in   frameReader
	dec  *decoder
	// reply is that of the last round trip, until the next one.
	reply reply
	// sentAt is when the last batch was sent.
	sentAt time.Time
	nextID uint64
	// CompleteReads sent on this connection and not yet answered, and room for those to be sent.
	owed  []sentComplete
	carry []completion
	// settle is told the outcome of each.
	settle func(completion, error)
	// reused is set once a round trip has succeeded: from then on the engine may have closed the
	// connection unnoticed.
	reused bool
	// broken connections are closed, never used again.
	broken bool
}

type sentComplete struct {
	id uint64
	completion
}

func newConn(sock *net.UnixConn, settle func(completion, error)) *conn {
	return &conn{sock: sock, out: newEncoder(), in: frameReader{src: sock}, dec: newDecoder(), settle: settle}
}

// errStale is a connection that turned out to be closed before anything of the reply arrived:
// the engine was restarted, or had closed it while it was idle. The request may be sent again.
var errStale = errors.New("the engine closed the connection")

// roundTrip sends the CompleteReads in carried, then m, all in one write, and waits for the
// reply to m, which is then in c.reply. An Error reply is returned as an *Error. Any other error
// leaves the connection broken.
func (c *conn) roundTrip(ctx context.Context, deadline time.Time, carried []completion, m message) error {
	c.out.reset()
	for i := range carried {
		c.nextID++
		c.out.add(&carried[i].completeRead, c.nextID)
		c.owed = append(c.owed, sentComplete{c.nextID, carried[i]})
	}
	c.nextID++
	c.out.add(m, c.nextID)

	err := c.sock.SetDeadline(deadline)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		// After the deadline is set, or that would undo this one.
		stop = context.AfterFunc(ctx, func() { c.sock.SetDeadline(time.Unix(1, 0)) })
	}
	c.sentAt = time.Now()
	if err == nil {
		_, err = c.sock.Write(c.out.bytes())
	}
	// An engine that refuses a connection says why before it closes it.
	if err == nil || errors.Is(err, syscall.EPIPE) {
		err = c.await(c.nextID)
	}
	if !stop() {
		// The context ended: its function may yet set a deadline in the past.
		c.broken = true
	}
	var refused *Error
	if err == nil || errors.As(err, &refused) {
		c.reused = true
		return err
	}
	c.broken = true
	return c.explain(ctx, m, err)
}

// await reads replies until the one to the request with this id.
func (c *conn) await(id uint64) error {
	for {
		mine, err := c.receive(id)
		if mine || err != nil {
			return err
		}
	}
}

// drain reads replies until every CompleteRead sent has been answered. It follows a round trip
// that succeeded, and is bounded by its deadline.
func (c *conn) drain() error {
	for len(c.owed) > 0 {
		if _, err := c.receive(0); err != nil {
			c.broken = true
			return err
		}
	}
	return nil
}

// receive reads one reply and reports whether it is the one to the request with this id. Those
// to CompleteReads are settled.
func (c *conn) receive(id uint64) (mine bool, err error) {
	frame, err := c.in.next()
	if err != nil {
		return false, err
	}
	if err := c.dec.decode(frame, &c.reply); err != nil {
		return false, err
	}
	switch {
	case c.reply.hasID && c.reply.id == id:
		return true, c.refusal()
	case c.reply.hasID && c.answered(c.reply.id):
		return false, nil
	case !c.reply.hasID && c.reply.kind == kindError:
		// The engine could not tell which request it refuses, or refuses the connection.
		c.broken = true
		return false, c.refusal()
	}
	return false, protocolError("it answers request %d, which was not sent", c.reply.id)
}

func (c *conn) refusal() error {
	if c.reply.kind != kindError {
		return nil
	}
	refused := c.reply.failure
	return &refused
}

// answered settles the CompleteRead the reply belongs to, if there is one.
func (c *conn) answered(id uint64) bool {
	for i, sent := range c.owed {
		if sent.id == id {
			c.owed = append(c.owed[:i], c.owed[i+1:]...)
			c.settle(sent.completion, c.completed())
			return true
		}
	}
	return false
}

// completed is the outcome of the CompleteRead that c.reply answers.
func (c *conn) completed() error {
	switch {
	case c.reply.kind == kindError:
		return c.refusal()
	case c.reply.kind != kindCompleteReadResponse:
		return protocolError("a CompleteRead was answered with another message")
	case !c.reply.complete.success:
		return fmt.Errorf("engine: CompleteRead: %s", c.reply.complete.message)
	}
	return nil
}

// explain turns an error of the socket into one for the caller.
func (c *conn) explain(ctx context.Context, m message, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("engine: %s: %w", m.kind(), ctx.Err())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("engine: %s: no reply in time: %w", m.kind(), context.DeadlineExceeded)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("engine: %s: %w (%v); look at the engine's log", m.kind(), errStale, err)
	}
	return fmt.Errorf("engine: %s: %w", m.kind(), err)
}

// close ends the connection. The CompleteReads it had no answer to are returned: whether they
// arrived is unknown.
func (c *conn) close() []completion {
	c.sock.Close()
	if c.pool != nil {
		c.pool.release()
	}
	var lost []completion
	for _, sent := range c.owed {
		lost = append(lost, sent.completion)
	}
	c.owed = nil
	return lost
}
