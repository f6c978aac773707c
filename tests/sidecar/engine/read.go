package engine

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

const (
	// What a Size of 0 means where remote memory is read.
	remoteDefaultBytes = 65536
	// The most that ReadAll sets aside on the engine's word alone.
	maxTrustedBytes = 1 << 30
)

// Read leases the bytes r names and returns a View of them, which the caller has to close. A
// range longer than the engine's largest transfer is [TransferTooLarge]: ask for a smaller one,
// or use [Client.ReadAll].
func (c *Client) Read(ctx context.Context, r Request) (*View, error) {
	view, err := c.start(ctx, r)
	if err != nil || !c.opts.VerifyCRC {
		return view, err
	}
	if err := view.Verify(); err != nil {
		view.Close()
		return nil, err
	}
	return view, nil
}

func (c *Client) start(ctx context.Context, r Request) (*View, error) {
	c.pending.expect()
	conn, err := c.do(ctx, &startRead{r, c.opts.Token})
	if err != nil {
		c.noView()
		return nil, err
	}
	view, err := c.newView(conn, r)
	if err != nil {
		conn.broken = true
		c.noView()
	}
	c.release(conn)
	return view, err
}

// ReadInto copies the bytes r names into p and returns how many. If there are more than fit, p
// is filled and the error is [io.ErrShortBuffer]; if there are fewer, there is no error. What
// was copied is right whenever the error is nil or io.ErrShortBuffer; with any other, p may hold
// anything.
func (c *Client) ReadInto(ctx context.Context, r Request, p []byte) (int, error) {
	t := transfers{client: c, request: r}
	n := 0
	for {
		// An empty p still asks for a byte, to find out whether there is one.
		view, err := t.next(ctx, uint64(max(len(p)-n, 1)))
		if err != nil {
			return n, err
		}
		if len(p) == 0 {
			view.Close()
		} else if err := t.copyOut(ctx, view, p[n:]); err != nil {
			return n, err
		}
		n = min(int(t.done), len(p))
		if t.total > uint64(len(p)) && n == len(p) {
			return n, io.ErrShortBuffer
		}
		if t.done >= t.total {
			return n, nil
		}
	}
}

// ReadAll returns a copy of the bytes r names, however many: where they are more than the
// engine's largest transfer, it reads them in several. A needle that is overwritten between two
// of these by one of the same length is not noticed.
func (c *Client) ReadAll(ctx context.Context, r Request) ([]byte, error) {
	t := transfers{client: c, request: r}
	var all []byte
	for {
		view, err := t.next(ctx, math.MaxUint64)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = make([]byte, 0, min(t.total, maxTrustedBytes))
		}
		n := len(all)
		all = slices.Grow(all, view.Len())[:n+view.Len()]
		if err := t.copyOut(ctx, view, all[n:]); err != nil {
			return nil, err
		}
		if t.done >= t.total {
			return all, nil
		}
	}
}

// transfers walks over a range in pieces the engine can land.
type transfers struct {
	client  *Client
	request Request
	// Bytes landed so far, of total; total is known after the first piece.
	done, total uint64
	needleSize  uint64
}

// next leases the next piece, of at most limit bytes.
func (t *transfers) next(ctx context.Context, limit uint64) (*View, error) {
	piece := t.request
	if piece.remote() && piece.Size == 0 {
		piece.Size = remoteDefaultBytes
	}
	wanted := piece.Size
	if wanted == 0 {
		wanted = math.MaxUint64
	}
	piece.Offset += t.done
	piece.Size = min(wanted-t.done, limit)
	if run := t.client.run.Load(); run != nil && !piece.remote() {
		piece.Size = min(piece.Size, run.caps.MaxTransferSize)
	}
	view, err := t.client.start(ctx, piece)
	if err != nil {
		return nil, err
	}
	landed := uint64(view.Len())
	if t.done == 0 {
		t.needleSize = view.NeedleSize()
		t.total = min(wanted, t.needleSize-piece.Offset)
		if piece.remote() {
			t.total = wanted
		}
	}
	t.done += landed
	if view.NeedleSize() != t.needleSize || landed == 0 && t.done < t.total {
		view.Close()
		return nil, fmt.Errorf("engine: needle %d of volume %d changed while it was read; read it again", piece.Needle, piece.Volume)
	}
	return view, nil
}

// copyOut copies a piece to dst, closes its View, and makes sure the copy is right.
func (t *transfers) copyOut(ctx context.Context, view *View, dst []byte) error {
	n := copy(dst, view.Bytes())
	var mismatch error
	if t.client.opts.VerifyCRC {
		mismatch = view.verify(dst[:n])
	}
	if err := view.finish(ctx); err != nil {
		return err
	}
	return mismatch
}

// Ping asks the engine for a sign of life and returns how long the round trip took.
func (c *Client) Ping(ctx context.Context) (rtt time.Duration, err error) {
	conn, err := c.do(ctx, &ping{uint64(time.Now().UnixNano()), c.opts.ClientID})
	if err != nil {
		return 0, err
	}
	rtt = time.Since(conn.sentAt)
	if conn.reply.kind != kindPong {
		conn.broken = true
		err = protocolError("a Ping was answered with another message")
	}
	c.release(conn)
	return rtt, err
}

// Capabilities asks the engine what it can do, and how many sessions are active now.
func (c *Client) Capabilities(ctx context.Context) (Capabilities, error) {
	conn, err := c.do(ctx, &getCapabilities{c.opts.ClientID})
	if err != nil {
		return Capabilities{}, err
	}
	caps := conn.reply.caps
	if conn.reply.kind != kindCapabilities {
		conn.broken = true
		err = protocolError("GetCapabilities was answered with another message")
	}
	c.release(conn)
	return caps, err
}
