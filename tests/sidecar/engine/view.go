package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync/atomic"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// View is a lease on bytes in the engine's pool. Its methods may be called from several
// goroutines; Close only after the last use of the bytes.
type View struct {
	client         *Client
	pool           *mapping
	data           []byte
	session        string
	needleSize     uint64
	crc            uint32
	verified       bool
	transport      string
	completionTime time.Duration
	engineTime     time.Duration
	deadline       time.Time
	closed         atomic.Bool
	// The CRC-32C of the bytes as computed here, with crcComputed set once it is.
	computed atomic.Uint64
}

const crcComputed = 1 << 32

// newView makes a View of the StartReadResponse on conn, after checking all of it.
func (c *Client) newView(conn *conn, r Request) (*View, error) {
	if conn.reply.kind != kindStartReadResponse {
		return nil, protocolError("StartRead was answered with another message")
	}
	reply := &conn.reply.start
	size := reply.transferSize
	if reply.session == "" || !reply.hasPoolOffset {
		return nil, protocolError("a StartReadResponse without session_id or pool_offset")
	}
	if r.Size != 0 && size > r.Size {
		return nil, protocolError("%d bytes were landed where %d were asked for", size, r.Size)
	}
	if !r.remote() && (r.Offset > reply.needleSize || size > reply.needleSize-r.Offset) {
		return nil, protocolError("%d bytes from %d on of a needle of %d", size, r.Offset, reply.needleSize)
	}
	data, ok := conn.pool.slice(reply.poolOffset, size)
	if !ok {
		return nil, protocolError("%d bytes at %d of a pool of %d", size, reply.poolOffset, len(conn.pool.data))
	}
	c.stats.reads.Add(1)
	c.stats.bytesRead.Add(size)
	return &View{
		client: c, pool: conn.pool.retain(), data: data,
		session: reply.session, needleSize: reply.needleSize,
		crc: reply.crc, verified: reply.crcVerified, transport: reply.transport,
		completionTime: nanoseconds(reply.completionNs), engineTime: nanoseconds(reply.elapsedNs),
		deadline: conn.sentAt.Add(leaseTime(reply.expiresAtNs, conn.sentAt, time.Now(), r.Timeout)),
	}, nil
}

// nanoseconds is the duration of ns, or the longest there is.
func nanoseconds(ns uint64) time.Duration {
	return time.Duration(min(ns, math.MaxInt64))
}

// leaseTime is how long a lease lasts, counted from when its request was sent. The engine gives
// its end on the wall clock, which both sides read: the earlier of the two ends that follow from
// the clock at sending and at receiving is taken, and never more than was asked for, so that a
// step of the clock does not make a lease look longer than it is.
func leaseTime(expiresAtNs uint64, sent, received time.Time, asked time.Duration) time.Duration {
	left := time.Duration(math.MaxInt64)
	if expiresAtNs <= math.MaxInt64 {
		expires := int64(expiresAtNs)
		left = min(
			time.Duration(expires-sent.UnixNano()),
			time.Duration(expires-received.UnixNano())+received.Sub(sent),
		)
	}
	if asked > 0 {
		left = min(left, asked)
	}
	return left
}

// Bytes returns the bytes, in the engine's memory: they can be read, not written (that is a
// fault), and only until Close. What they say can be relied on until [View.Deadline]. After
// Close it returns nil.
func (v *View) Bytes() []byte {
	if v.closed.Load() {
		return nil
	}
	return v.data
}

// Len returns the number of bytes.
func (v *View) Len() int { return len(v.data) }

// NeedleSize returns the length of the whole needle.
func (v *View) NeedleSize() uint64 { return v.needleSize }

// CRC returns the CRC-32C (Castagnoli) of the bytes as the engine computed it.
func (v *View) CRC() uint32 { return v.crc }

// CRCVerified reports whether the engine checked the checksum stored with the needle, which it
// can only do where it read the needle whole.
func (v *View) CRCVerified() bool { return v.verified }

// Transport returns how the bytes came into the pool: "local", "verbs" or "tcp".
func (v *View) Transport() string { return v.transport }

// CompletionTime returns how long the engine's read took from its submission to its last
// completion, or 0 where the engine did not say.
func (v *View) CompletionTime() time.Duration { return v.completionTime }

// EngineTime returns how long the engine took from the request's last byte until it had made its
// reply, or 0 where it did not say.
func (v *View) EngineTime() time.Duration { return v.engineTime }

// Deadline returns when the engine may take the buffer back, on this process's monotonic clock,
// or a little earlier, never later.
func (v *View) Deadline() time.Time { return v.deadline }

// Verify computes the CRC-32C of the bytes and compares it with the engine's. A mismatch is an
// [*Error] with code [ChecksumMismatch], or [ErrExpired] where the deadline has passed.
func (v *View) Verify() error {
	if v.closed.Load() {
		return errors.New("engine: Verify of a View that is closed; verify it first")
	}
	return v.verify(v.data)
}

func (v *View) verify(data []byte) error {
	crc := crc32.Checksum(data, castagnoli)
	v.computed.Store(crcComputed | uint64(crc))
	if crc == v.crc {
		return nil
	}
	if !time.Now().Before(v.deadline) {
		return ErrExpired
	}
	return &Error{
		Code:     ChecksumMismatch,
		Category: "integrity",
		Message:  fmt.Sprintf("the %d bytes landed have CRC-32C %08x, the engine says %08x; read again", len(data), crc, v.crc),
	}
}

// Close gives the buffer back; the bytes must not be touched any more. The CompleteRead travels
// with the next request of the Client, or alone after [Options.CompleteDelay], and nobody waits
// for it. It returns [ErrExpired] if the deadline has passed: bytes read late may then be wrong.
// Closing again does nothing and returns nil.
func (v *View) Close() error {
	if v.closed.Swap(true) {
		return nil
	}
	now := time.Now()
	done := v.completion(now)
	expired := !now.Before(v.deadline)
	if expired {
		done.success, done.problem = false, "closed after its deadline"
	}
	v.client.pending.add(done)
	v.pool.release()
	if expired {
		return ErrExpired
	}
	return nil
}

func (v *View) completion(now time.Time) completion {
	computed := v.computed.Load()
	return completion{
		completeRead: completeRead{
			session: v.session, success: true, bytes: uint64(len(v.data)),
			crc: uint32(computed), hasCRC: computed&crcComputed != 0,
		},
		pool: v.pool, deadline: v.deadline, queued: now,
	}
}

// finish closes the View and returns nil only where what was copied out of it is right: before
// the deadline without asking anyone, after it if the engine says the lease was still good.
func (v *View) finish(ctx context.Context) error {
	now := time.Now()
	if now.Before(v.deadline) {
		return v.Close()
	}
	v.closed.Store(true)
	defer v.pool.release()
	defer v.client.noView()
	done := v.completion(now)
	conn, err := v.client.do(ctx, &done.completeRead)
	if errors.Is(err, SessionExpired) || errors.Is(err, SessionNotFound) {
		return ErrExpired
	}
	if err != nil {
		return err
	}
	defer v.client.release(conn)
	return conn.completed()
}
