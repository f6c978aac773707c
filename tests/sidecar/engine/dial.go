package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// Room for more descriptors than may come, so that a wrong number of them is noticed.
const maxDescriptors = 8

// dial opens a connection and attaches the pool on it, within DialTimeout and by the deadline.
func (c *Client) dial(ctx context.Context, deadline time.Time) (*conn, error) {
	if limit := time.Now().Add(c.opts.DialTimeout); limit.Before(deadline) {
		deadline = limit
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var dialer net.Dialer
	sock, err := dialer.DialContext(ctx, "unix", c.opts.Socket)
	if err != nil {
		return nil, fmt.Errorf("engine: connect: %w%s", err, connectAdvice(err))
	}
	conn := newConn(sock.(*net.UnixConn), c.settle)
	if err := c.attach(ctx, conn); err != nil {
		conn.close()
		return nil, err
	}
	c.stats.dials.Add(1)
	return conn, nil
}

func connectAdvice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "; is the engine running, with this --ipc-socket?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; nobody listens there: start the engine"
	case errors.Is(err, fs.ErrPermission):
		return "; run as the engine's user, or have it allow this one"
	}
	return ""
}

// attach asks for the pool, and maps it if this run of the engine is a new one.
func (c *Client) attach(ctx context.Context, conn *conn) error {
	fds := &descriptors{sock: conn.sock}
	defer fds.close()
	conn.in.src = fds
	deadline := c.deadline(ctx)
	if err := conn.roundTrip(ctx, deadline, nil, &getCapabilities{c.opts.ClientID}); err != nil {
		return err
	}
	if conn.reply.kind != kindCapabilities {
		return protocolError("GetCapabilities was answered with another message")
	}
	caps := conn.reply.caps
	err := conn.roundTrip(ctx, deadline, nil, &attachPool{c.opts.ClientID, c.opts.Token})
	if errors.Is(err, UnsupportedMessage) {
		return fmt.Errorf("%w; this engine is too old to hand its pool over: update it", err)
	}
	if err != nil {
		return err
	}
	if conn.reply.kind != kindAttachPoolResponse {
		return protocolError("AttachPool was answered with another message")
	}
	if len(fds.received) != 1 {
		return protocolError("%d descriptors came with the pool", len(fds.received))
	}
	conn.in.src = conn.sock
	conn.reused = false
	attach := conn.reply.attach
	if attach.bootID == "" || caps.MaxTransferSize == 0 {
		return protocolError("it names no boot_id, or a largest transfer of 0 bytes")
	}
	conn.pool, err = c.adopt(fds.received[0], attach, caps)
	return err
}

// descriptors reads from a socket and keeps the descriptors that come along.
type descriptors struct {
	sock     *net.UnixConn
	received []int
}

func (d *descriptors) Read(p []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4*maxDescriptors))
	n, oobn, flags, _, err := d.sock.ReadMsgUnix(p, oob)
	if err != nil {
		return n, err
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil {
			d.received = append(d.received, fds...)
		}
	}
	if err != nil || flags&syscall.MSG_CTRUNC != 0 {
		return n, protocolError("more descriptors came than there is room for; raise this process's limit (ulimit -n) if it is at it")
	}
	return n, nil
}

func (d *descriptors) close() {
	for _, fd := range d.received {
		syscall.Close(fd)
	}
}

// deadline is when a call has to be over.
func (c *Client) deadline(ctx context.Context) time.Time {
	if t, ok := ctx.Deadline(); ok {
		return t
	}
	return time.Now().Add(c.opts.Timeout)
}
