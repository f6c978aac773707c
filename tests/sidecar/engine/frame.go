package engine

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	lengthBytes   = 4
	maxFrameBytes = 1 << 20
	// Room for dozens of replies, so that one read(2) takes all that have arrived.
	readBufferBytes = 16 << 10
)

// frameReader cuts a stream into frames.
type frameReader struct {
	src io.Reader
	buf []byte
	// buf[start:end] has been read and not yet been returned.
	start, end int
}

// next returns the payload of the next frame, valid until the next call. The error is io.EOF
// only where the stream ended between frames.
func (r *frameReader) next() ([]byte, error) {
	if err := r.fill(lengthBytes); err != nil {
		return nil, err
	}
	announced := binary.LittleEndian.Uint32(r.buf[r.start:])
	if announced > maxFrameBytes {
		return nil, protocolError("a frame of %d bytes was announced; the limit is %d", announced, maxFrameBytes)
	}
	length := int(announced)
	if err := r.fill(lengthBytes + length); err != nil {
		return nil, err
	}
	payload := r.buf[r.start+lengthBytes : r.start+lengthBytes+length]
	r.start += lengthBytes + length
	return payload, nil
}

// fill makes sure that at least n bytes are buffered.
func (r *frameReader) fill(n int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start+n > len(r.buf) {
		r.makeRoom(n)
	}
	for r.end-r.start < n {
		got, err := r.src.Read(r.buf[r.end:])
		r.end += got
		if err == io.EOF && r.end > r.start && r.end-r.start < n {
			return io.ErrUnexpectedEOF
		}
		if err != nil && r.end-r.start < n {
			return err
		}
	}
	return nil
}

func (r *frameReader) makeRoom(n int) {
	buf := r.buf
	if n > len(buf) {
		buf = make([]byte, max(n, readBufferBytes))
	}
	r.end = copy(buf, r.buf[r.start:r.end])
	r.start = 0
	r.buf = buf
}

// A reply that is not what the protocol says; the connection it came on is closed.
func protocolError(format string, args ...any) error {
	return fmt.Errorf("engine: the reply makes no sense: %s; is it an rdma-engine that listens there?", fmt.Sprintf(format, args...))
}
