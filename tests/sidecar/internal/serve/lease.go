package serve

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"rdma-engine/sidecar/engine"
)

// Sending ends this long before the lease does, so that a client too slow is cut off at a time of our choosing.
const leaseMargin = 100 * time.Millisecond

// lease is a piece in the engine's pool.
type lease struct{ view *engine.View }

func (l *lease) describe(h http.Header) {
	h.Set(headerUsed, "true")
	h.Set(headerTransport, l.view.Transport())
	h.Set(headerVerified, strconv.FormatBool(l.view.CRCVerified()))
	h.Set(headerCRC, fmt.Sprintf("%08x", l.view.CRC()))
}

func (l *lease) source() source { return sourceEngine }

// send writes the bytes from where the engine landed them: net/http passes a write that is longer than its buffers
// (4 KiB) on to the socket as it is, once the header is out. The kernel has copied them when the write returns, which
// is what makes it right to end the lease then; sendfile or MSG_ZEROCOPY would go on reading the pool.
//
// The last byte is kept back until the lease is known not to have ended before. So whatever delays this process, a
// client never gets a complete response with bytes of another read in it.
func (l *lease) send(w http.ResponseWriter, until time.Time) error {
	if end := l.view.Deadline().Add(-leaseMargin); end.Before(until) {
		until = end
	}
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(until); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	data := l.view.Bytes()
	last := [1]byte{data[len(data)-1]}
	if _, err := w.Write(data[:len(data)-1]); err != nil {
		return err
	}
	if err := l.view.Close(); err != nil {
		return err
	}
	if _, err := w.Write(last[:]); err != nil {
		return err
	}
	return out.Flush()
}

// close gives the buffer back where send did not.
func (l *lease) close() { _ = l.view.Close() }
