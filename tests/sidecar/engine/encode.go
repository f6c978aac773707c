package engine

import (
	"bytes"
	"encoding/binary"

	"github.com/vmihailenco/msgpack/v5"
)

// encoder collects frames to be sent in one write. The errors of the msgpack encoder are those
// of its writer, and a bytes.Buffer has none, so they are not looked at.
type encoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

func newEncoder() *encoder {
	e := &encoder{}
	e.enc = msgpack.NewEncoder(&e.buf)
	return e
}

func (e *encoder) bytes() []byte { return e.buf.Bytes() }
func (e *encoder) reset()        { e.buf.Reset() }

// message is a request: its type, and its fields with the request_id given.
type message interface {
	kind() string
	encode(e *encoder, id uint64)
}

// add appends m as a frame.
func (e *encoder) add(m message, id uint64) {
	start := e.buf.Len()
	var length [lengthBytes]byte
	e.buf.Write(length[:])
	e.fields(2)
	e.string("type", m.kind())
	e.enc.EncodeString("data")
	m.encode(e, id)
	frame := e.buf.Bytes()[start:]
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-lengthBytes))
}

func (e *encoder) fields(n int) { e.enc.EncodeMapLen(n) }

func (e *encoder) uint(key string, v uint64) {
	e.enc.EncodeString(key)
	e.enc.EncodeUint(v)
}

func (e *encoder) bool(key string, v bool) {
	e.enc.EncodeString(key)
	e.enc.EncodeBool(v)
}

func (e *encoder) string(key, v string) {
	e.enc.EncodeString(key)
	e.enc.EncodeString(v)
}

// optional writes a field only where it says something; count it with present.
func (e *encoder) optional(key, v string) {
	if v != "" {
		e.string(key, v)
	}
}

func present(fields ...string) int {
	n := 0
	for _, v := range fields {
		if v != "" {
			n++
		}
	}
	return n
}

// The requests. Their fields are those of the protocol, in its order.

type startRead struct {
	Request
	token string
}

func (*startRead) kind() string { return "StartRead" }

func (m *startRead) encode(e *encoder, id uint64) {
	e.fields(9 + present(m.token, m.Peer, m.Collection))
	e.uint("volume_id", uint64(m.Volume))
	e.uint("needle_id", m.Needle)
	e.uint("cookie", uint64(m.Cookie))
	e.uint("offset", m.Offset)
	e.uint("size", m.Size)
	e.uint("remote_addr", m.RemoteAddr)
	e.uint("remote_key", uint64(m.RemoteKey))
	e.uint("timeout_secs", m.timeoutSecs())
	e.optional("auth_token", m.token)
	e.uint("request_id", id)
	e.optional("peer", m.Peer)
	e.optional("collection", m.Collection)
}

type completeRead struct {
	session string
	success bool
	bytes   uint64
	// The CRC-32C of the bytes, if the client computed it.
	crc    uint32
	hasCRC bool
	// Why the client could not use the bytes.
	problem string
}

func (*completeRead) kind() string { return "CompleteRead" }

func (m *completeRead) encode(e *encoder, id uint64) {
	n := 4 + present(m.problem)
	if m.hasCRC {
		n++
	}
	e.fields(n)
	e.string("session_id", m.session)
	e.bool("success", m.success)
	e.uint("bytes_transferred", m.bytes)
	if m.hasCRC {
		e.uint("client_crc", uint64(m.crc))
	}
	e.optional("error_message", m.problem)
	e.uint("request_id", id)
}

type getCapabilities struct{ clientID string }

func (*getCapabilities) kind() string { return "GetCapabilities" }

func (m *getCapabilities) encode(e *encoder, id uint64) {
	e.fields(1 + present(m.clientID))
	e.optional("client_id", m.clientID)
	e.uint("request_id", id)
}

type ping struct {
	timestampNs uint64
	clientID    string
}

func (*ping) kind() string { return "Ping" }

func (m *ping) encode(e *encoder, id uint64) {
	e.fields(2 + present(m.clientID))
	e.uint("timestamp_ns", m.timestampNs)
	e.optional("client_id", m.clientID)
	e.uint("request_id", id)
}

type attachPool struct{ clientID, token string }

func (*attachPool) kind() string { return "AttachPool" }

func (m *attachPool) encode(e *encoder, id uint64) {
	e.fields(1 + present(m.clientID, m.token))
	e.optional("client_id", m.clientID)
	e.uint("request_id", id)
	e.optional("auth_token", m.token)
}
