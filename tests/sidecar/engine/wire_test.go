package engine

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"rdma-engine/sidecar/internal/enginetest"
)

// vector is the recorded frame of this name.
func vector(t *testing.T, group, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(enginetest.Root(), "tests", "data", "wire-vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	var vectors []struct{ Name, Hex string }
	if err := errors.Join(json.Unmarshal(text, &file), json.Unmarshal(file[group], &vectors)); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Name == name {
			frame, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			return frame
		}
	}
	t.Fatalf("no vector %q in %s", name, group)
	return nil
}

// fieldsOf decodes a message with the library's own decoder, numbers in a common type.
func fieldsOf(t *testing.T, payload []byte) (kind string, data map[string]any) {
	t.Helper()
	var message struct {
		Type string         `msgpack:"type"`
		Data map[string]any `msgpack:"data"`
	}
	if err := msgpack.Unmarshal(payload, &message); err != nil {
		t.Fatal(err)
	}
	for key, value := range message.Data {
		switch reflect.ValueOf(value).Kind() {
		case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			message.Data[key] = uint64(reflect.ValueOf(value).Int())
		case reflect.Uint8, reflect.Uint16, reflect.Uint32:
			message.Data[key] = reflect.ValueOf(value).Uint()
		}
	}
	return message.Type, message.Data
}

func TestRequestsSayWhatRecordedOnesSay(t *testing.T) {
	const id = 7
	session := "d" // replaced by the recorded one
	_, recorded := fieldsOf(t, vector(t, "go_requests", "CompleteRead ok with crc"))
	session = recorded["session_id"].(string)
	for name, m := range map[string]message{
		"StartRead full needle, no token": &startRead{Request: Request{
			Volume: 3, Needle: 1, Cookie: 0x037037d6, Timeout: 30 * time.Second}},
		"StartRead range with token and remote key": &startRead{token: "s3cret", Request: Request{
			Volume: 1<<32 - 1, Needle: 1<<64 - 1, Cookie: 1<<32 - 1, Offset: 4096, Size: 1 << 20,
			RemoteAddr: 0x7f12_0000_0000, RemoteKey: 0x1234, Timeout: 300 * time.Second}},
		"CompleteRead ok with crc":          &completeRead{session: session, success: true, bytes: 4096, crc: 0xe3069283, hasCRC: true},
		"CompleteRead failed with error":    &completeRead{session: session, bytes: 17, problem: "short read"},
		"GetCapabilities with client id":    &getCapabilities{"sidecar-1"},
		"GetCapabilities without client id": &getCapabilities{},
		"Ping with client id":               &ping{0x18ea5e1a8a6e20cf, "sidecar-1"},
		"Ping without client id":            &ping{12345, ""},
	} {
		e := newEncoder()
		e.add(m, id)
		kind, fields := fieldsOf(t, e.bytes()[lengthBytes:])
		wantKind, want := fieldsOf(t, vector(t, "go_requests", name))
		want["request_id"] = uint64(id)
		if kind != wantKind || !reflect.DeepEqual(fields, want) {
			t.Errorf("%s:\ngot  %s %v\nwant %s %v", name, kind, fields, wantKind, want)
		}
	}
}

func TestEveryOptionalFieldIsSent(t *testing.T) {
	e := newEncoder()
	e.add(&startRead{Request{Collection: "pictures", Peer: "node-2"}, "t"}, 1)
	e.add(&attachPool{"me", "t"}, 2)
	in := frameReader{src: bytes.NewReader(e.bytes())}
	for _, want := range []map[string]any{
		{"collection": "pictures", "peer": "node-2", "auth_token": "t", "request_id": uint64(1)},
		{"client_id": "me", "auth_token": "t", "request_id": uint64(2)},
	} {
		frame, err := in.next()
		if err != nil {
			t.Fatal(err)
		}
		_, fields := fieldsOf(t, frame)
		for key, value := range want {
			if fields[key] != value {
				t.Errorf("%s is %v, want %v", key, fields[key], value)
			}
		}
	}
}

func TestLeaseTimesAreRoundedUpToSeconds(t *testing.T) {
	for timeout, want := range map[time.Duration]uint64{
		0: 0, -1: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 300 * time.Second: 300,
	} {
		if got := (Request{Timeout: timeout}).timeoutSecs(); got != want {
			t.Errorf("%v is sent as %d, want %d", timeout, got, want)
		}
	}
}

func decodeReply(payload []byte) (reply, error) {
	var r reply
	err := newDecoder().decode(payload, &r)
	return r, err
}

func TestRecordedRepliesAreRead(t *testing.T) {
	r, err := decodeReply(vector(t, "rust_named", "Pong 1,2,1"))
	if err != nil || r.kind != kindPong || r.hasID {
		t.Errorf("Pong: %+v, %v", r, err)
	}
	r, err = decodeReply(vector(t, "rust_named", "Error SESSION_NOT_FOUND"))
	if want := (Error{SessionNotFound, "m", "session", true}); err != nil || r.failure != want {
		t.Errorf("Error: %+v, %v", r.failure, err)
	}
	r, err = decodeReply(vector(t, "rust_named", "CompleteReadResponse ok, crc 0xe3069283, no message"))
	if err != nil || !r.complete.success || r.complete.message != "" {
		t.Errorf("CompleteReadResponse: %+v, %v", r.complete, err)
	}
}

func pack(t *testing.T, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryFieldOfAStartReadResponseIsRead(t *testing.T) {
	r, err := decodeReply(pack(t, map[string]any{"type": "StartReadResponse", "data": map[string]any{
		"session_id": "s", "local_addr": uint64(1 << 40), "local_key": 1, "transfer_size": 5,
		"expected_crc": uint32(0x9a71bb4c), "expires_at_ns": uint64(1 << 60), "pool_offset": 0,
		"needle_size": 9, "transport": "local", "crc_verified": true, "request_id": 3,
		"completion_ns": 70, "elapsed_ns": uint64(1 << 40),
	}}))
	want := startReadResponse{
		session: "s", transferSize: 5, crc: 0x9a71bb4c, expiresAtNs: 1 << 60,
		hasPoolOffset: true, needleSize: 9, transport: "local", crcVerified: true,
		completionNs: 70, elapsedNs: 1 << 40,
	}
	if err != nil || r.start != want || r.id != 3 || !r.hasID {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestEveryFieldOfTheCapabilitiesIsRead(t *testing.T) {
	r, err := decodeReply(pack(t, map[string]any{"type": "GetCapabilitiesResponse", "data": map[string]any{
		"device_name": "rxe0", "vendor_id": 2, "max_transfer_size": 3, "max_sessions": 4,
		"active_sessions": 5, "port_gid": "fe80::1", "port_lid": 6, "supported_auth": []string{"peercred", "token"},
		"version": "7", "real_rdma": true, "transports": []string{"local"}, "pool_bytes": 8,
		"pool_page_size": 9, "pool_registered": true, "protocol_version": 10, "steps_down": []string{"no hugepages"},
	}}))
	want := Capabilities{
		DeviceName: "rxe0", VendorID: 2, MaxTransferSize: 3, MaxSessions: 4, ActiveSessions: 5,
		PortGID: "fe80::1", PortLID: 6, SupportedAuth: []string{"peercred", "token"}, Version: "7",
		RealRDMA: true, Transports: []string{"local"}, PoolBytes: 8, PoolPageSize: 9,
		PoolRegistered: true, ProtocolVersion: 10, StepsDown: []string{"no hugepages"},
	}
	if err != nil || !reflect.DeepEqual(r.caps, want) {
		t.Errorf("got %+v, %v", r.caps, err)
	}
}

func TestUnknownFieldsAndNilAreNoMatter(t *testing.T) {
	r, err := decodeReply(pack(t, map[string]any{"later": []any{1, map[string]any{"x": nil}}, "type": "CompleteReadResponse",
		"data": map[string]any{"message": nil, "success": nil, "server_crc": nil, "request_id": nil,
			strings.Repeat("k", 300): map[string]any{"a": []byte{1}, "b": 1.5, "c": "text", "d": -3}}}))
	if want := (completeReadResponse{}); err != nil || r.complete != want || r.hasID {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestTheDataMayComeBeforeTheType(t *testing.T) {
	data := pack(t, map[string]any{"code": "IO_ERROR", "request_id": 4})
	r, err := decodeReply([]byte("\x82\xa4data" + string(data) + "\xa4type\xa5Error"))
	if err != nil || r.failure.Code != IOError || r.id != 4 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestGarbageIsAnErrorAndNeverAPanic(t *testing.T) {
	good := pack(t, map[string]any{"type": "StartReadResponse", "data": map[string]any{
		"session_id": "session", "transfer_size": 4096, "expected_crc": uint32(1 << 31), "transport": "local"}})
	for end := range good {
		if r, err := decodeReply(good[:end]); err == nil {
			t.Errorf("cut at %d it was read as %+v", end, r)
		}
	}
	open := "\x82\xa4type\xa4Pong\xa4data\x81\xa1x"
	for name, payload := range map[string]string{
		"nothing":               "",
		"no MessagePack":        strings.Repeat("\xc1", 64),
		"HTTP":                  "HTTP/1.1 200 OK\r\n\r\n",
		"nil":                   "\xc0",
		"no type":               "\x81\xa4data\x80",
		"an unknown type":       "\x82\xa4type\xa4Pung\xa4data\x80",
		"bytes behind it":       "\x82\xa4type\xa4Pong\xa4data\x80\x00",
		"a number over its 32":  "\x82\xa4type\xb1StartReadResponse\xa4data\x81\xacexpected_crc\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
		"a string for a number": "\x82\xa4type\xb1StartReadResponse\xa4data\x81\xadtransfer_size\xa1x",
		"an array bomb":         open + "\xdd\xff\xff\xff\xff",
		"a map bomb":            open + "\xdf\xff\xff\xff\xff",
		"a string bomb":         open + "\xdb\xff\xff\xff\xff",
		"a bomb for a list":     "\x82\xa4type\xb7GetCapabilitiesResponse\xa4data\x81\xaatransports\xdd\x7f\xff\xff\xff",
		"deep arrays":           open + strings.Repeat("\x91", 100_000) + "\xc0",
		"deep maps":             open + strings.Repeat("\x81\xc0", 100_000) + "\xc0",
	} {
		if r, err := decodeReply([]byte(payload)); err == nil {
			t.Errorf("%s was read as %+v", name, r)
		}
	}
}

func TestADecoderKeepsNothingOfTheReplyBefore(t *testing.T) {
	d, r := newDecoder(), reply{}
	for _, m := range []map[string]any{
		{"type": "Error", "data": map[string]any{"code": "IO_ERROR", "request_id": 4}},
		{"type": "Pong", "data": map[string]any{}},
	} {
		if err := d.decode(pack(t, m), &r); err != nil {
			t.Fatal(err)
		}
	}
	if want := (reply{kind: kindPong}); !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v", r)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x82\xa4type\xa4Pong\xa4data\x81\xa1x\xc0"))
	f.Add([]byte("\x82\xa4data\x81\xa4code\xa1x\xa4type\xa5Error"))
	f.Add([]byte("\x82\xa4type\xb7GetCapabilitiesResponse\xa4data\x81\xaatransports\x91\xa1x"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if r, err := decodeReply(payload); err == nil && r.kind == kindUnknown {
			t.Errorf("%x has no kind", payload)
		}
	})
}

func ExampleError() {
	err := fmt.Errorf("thumbnail 17: %w", &Error{Code: ResourceExhausted, Message: "no room in the pool", Recoverable: true})
	var refused *Error
	fmt.Println(errors.Is(err, ResourceExhausted), errors.Is(err, NeedleNotFound))
	fmt.Println(errors.As(err, &refused) && refused.Recoverable)
	// Output:
	// true false
	// true
}
