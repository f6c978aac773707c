package engine

import (
	"bytes"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

const (
	// The longest name of a field; longer keys are unknown ones.
	maxKeyBytes = 32
	// Nesting allowed in fields this package does not know.
	maxSkipDepth = 16
)

// replyKind is the type of a reply.
type replyKind int

const (
	kindUnknown replyKind = iota
	kindStartReadResponse
	kindCompleteReadResponse
	kindCapabilities
	kindPong
	kindAttachPoolResponse
	kindError
)

// reply is one decoded reply: its kind, and the one field that goes with it.
type reply struct {
	kind     replyKind
	id       uint64
	hasID    bool
	start    startReadResponse
	complete completeReadResponse
	caps     Capabilities
	attach   attachPoolResponse
	failure  Error
}

type startReadResponse struct {
	session      string
	transferSize uint64
	crc          uint32
	expiresAtNs  uint64
	poolOffset   uint64
	// Without a pool_offset the bytes can not be found; 0 would be somebody else's.
	hasPoolOffset bool
	needleSize    uint64
	transport     string
	crcVerified   bool
	completionNs  uint64
	elapsedNs     uint64
}

type completeReadResponse struct {
	success bool
	message string
}

type attachPoolResponse struct {
	poolBytes uint64
	pageSize  uint64
	bootID    string
}

// decoder reads replies. It is reused; the strings in a reply are copies.
type decoder struct {
	src bytes.Reader
	d   *msgpack.Decoder
	key [maxKeyBytes]byte
}

func newDecoder() *decoder {
	d := &decoder{}
	d.d = msgpack.NewDecoder(&d.src)
	return d
}

// decode reads the payload of a frame into r. Fields it does not know are skipped, nil is the
// zero value, and the type may come before or after the data.
func (d *decoder) decode(payload []byte, r *reply) error {
	*r = reply{}
	d.src.Reset(payload)
	d.d.Reset(&d.src)
	n, err := d.d.DecodeMapLen()
	if err != nil {
		return protocolError("no map: %v", err)
	}
	data := int64(-1)
	for ; n > 0; n-- {
		key, err := d.text()
		if err != nil {
			return protocolError("a broken key: %v", err)
		}
		switch {
		case string(key) == "type":
			name, err := d.text()
			if err != nil {
				return protocolError("a broken type: %v", err)
			}
			if r.kind = kindOf(name); r.kind == kindUnknown {
				return protocolError("its type %q is unknown", name)
			}
		case string(key) == "data" && r.kind == kindUnknown:
			data = d.src.Size() - int64(d.src.Len())
			err = d.skip(0)
		case string(key) == "data":
			err = d.fields(r)
		default:
			err = d.skip(0)
		}
		if err != nil {
			return protocolError("%v", err)
		}
	}
	if r.kind == kindUnknown {
		return protocolError("it has no type")
	}
	if d.src.Len() != 0 {
		return protocolError("%d bytes follow it", d.src.Len())
	}
	if data >= 0 {
		if _, err := d.src.Seek(data, io.SeekStart); err != nil {
			return protocolError("%v", err)
		}
		if err := d.fields(r); err != nil {
			return protocolError("%v", err)
		}
	}
	return nil
}

func kindOf(name []byte) replyKind {
	switch string(name) {
	case "StartReadResponse":
		return kindStartReadResponse
	case "CompleteReadResponse":
		return kindCompleteReadResponse
	case "GetCapabilitiesResponse":
		return kindCapabilities
	case "Pong":
		return kindPong
	case "AttachPoolResponse":
		return kindAttachPoolResponse
	case "Error":
		return kindError
	}
	return kindUnknown
}

// fields reads the map of a reply whose kind is known.
func (d *decoder) fields(r *reply) error {
	n, err := d.d.DecodeMapLen()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		key, err := d.text()
		if err != nil {
			return err
		}
		if string(key) == "request_id" {
			r.id, r.hasID, err = d.id()
		} else {
			err = d.field(r, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) field(r *reply, key []byte) error {
	switch r.kind {
	case kindStartReadResponse:
		return r.start.field(d, key)
	case kindCompleteReadResponse:
		return r.complete.field(d, key)
	case kindCapabilities:
		return r.caps.field(d, key)
	case kindAttachPoolResponse:
		return r.attach.field(d, key)
	case kindError:
		return failureField(&r.failure, d, key)
	}
	return d.skip(0)
}

func (r *startReadResponse) field(d *decoder, key []byte) (err error) {
	switch string(key) {
	case "session_id":
		r.session, err = d.d.DecodeString()
	case "transfer_size":
		r.transferSize, err = d.d.DecodeUint64()
	case "expected_crc":
		r.crc, err = d.uint32()
	case "expires_at_ns":
		r.expiresAtNs, err = d.d.DecodeUint64()
	case "pool_offset":
		r.poolOffset, r.hasPoolOffset, err = d.id()
	case "needle_size":
		r.needleSize, err = d.d.DecodeUint64()
	case "transport":
		r.transport, err = d.transport()
	case "crc_verified":
		r.crcVerified, err = d.bool()
	case "completion_ns":
		r.completionNs, err = d.d.DecodeUint64()
	case "elapsed_ns":
		r.elapsedNs, err = d.d.DecodeUint64()
	default:
		err = d.skip(0)
	}
	return err
}

func (r *completeReadResponse) field(d *decoder, key []byte) (err error) {
	switch string(key) {
	case "success":
		r.success, err = d.bool()
	case "message":
		r.message, err = d.d.DecodeString()
	default:
		err = d.skip(0)
	}
	return err
}

func (r *attachPoolResponse) field(d *decoder, key []byte) (err error) {
	switch string(key) {
	case "pool_bytes":
		r.poolBytes, err = d.d.DecodeUint64()
	case "page_size":
		r.pageSize, err = d.d.DecodeUint64()
	case "boot_id":
		r.bootID, err = d.d.DecodeString()
	default:
		err = d.skip(0)
	}
	return err
}

func failureField(r *Error, d *decoder, key []byte) (err error) {
	switch string(key) {
	case "code":
		var code string
		code, err = d.d.DecodeString()
		r.Code = Code(code)
	case "message":
		r.Message, err = d.d.DecodeString()
	case "category":
		r.Category, err = d.d.DecodeString()
	case "recoverable":
		r.Recoverable, err = d.bool()
	default:
		err = d.skip(0)
	}
	return err
}
