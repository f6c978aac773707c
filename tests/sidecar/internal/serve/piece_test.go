package serve

import (
	"net/http"
	"strings"
	"testing"

	"rdma-engine/sidecar/engine"
)

func TestAQueryIsReadAsTheMountWritesIt(t *testing.T) {
	t.Parallel()
	want := piece{engine.Request{Volume: 2, Needle: 1, Cookie: 0xf2aeac28, Offset: 16384, Size: 32768}, "http://127.0.0.1:8080"}
	for _, query := range []string{
		"file_id=2,01f2aeac28&offset=16384&size=32768&volume_server=http://127.0.0.1:8080",
		"file_id=2%2C01f2aeac28&offset=16384&size=32768&volume_server=http%3A%2F%2F127.0.0.1%3A8080",
		"size=32768&volume=2&cookie=4071533608&needle=1&offset=16384&volume_server=http://127.0.0.1:8080",
	} {
		p, err := parsePiece(query, 1<<20)
		if err != nil || *p != want {
			t.Errorf("%s: %+v, %v", query, p, err)
		}
	}
	if id := want.fileID(); id != "2,1f2aeac28" {
		t.Errorf("the file id is %s", id)
	}
}

// wrong are queries that name no piece, each with a part of what the answer says.
var wrong = [][2]string{
	{"", "missing"},
	{"file_id=2,01f2aeac28&offset=0", "size is missing"},
	{"file_id=2,01f2aeac28&size=1", "offset is missing"},
	{"offset=0&size=1", "volume is missing"},
	{"volume=1&needle=1&offset=0&size=1", "cookie is missing"},
	{"file_id=2,01f2aeac28&volume=2&offset=0&size=1", `"volume"`},
	{"file_id=&offset=0&size=1", "comma"},
	{"file_id=2&offset=0&size=1", "comma"},
	{"file_id=2,01&offset=0&size=1", "cookie"},
	{"file_id=2,zzf2aeac28&offset=0&size=1", "hexadecimal"},
	{"file_id=../2,01f2aeac28&offset=0&size=1", "volume"},
	{"file_id=4294967296,01f2aeac28&offset=0&size=1", "volume"},
	{"file_id=2,01f2aeac28&offset=-1&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=+1&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=0x10&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=1_0&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=0&size=0", "size"},
	{"file_id=2,01f2aeac28&offset=0&size=1.5", "size"},
	{"file_id=2,01f2aeac28&offset=0&size=1048577", "1048576"},
	{"file_id=2,01f2aeac28&offset=0&size=99999999999999999999", "size"},
	{"file_id=2,01f2aeac28&offset=18446744073709551615&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=9223372036854775807&size=1", "offset"},
	{"file_id=2,01f2aeac28&offset=0&size=1&size=2", "2 times"},
	{"file_id=2,01f2aeac28&file_id=2,01f2aeac28&offset=0&size=1", "2 times"},
	{"file_id=2,01f2aeac28&offset=0&size=1&raw=1", `"raw"`},
	{"file_id=2,01f2aeac28&offset=0&size=1;raw=1", "semicolon"},
	{"file_id=%zz&offset=0&size=1", "%zz"},
	{"volume=4294967296&needle=1&cookie=1&offset=0&size=1", "volume"},
	{"volume=1&needle=1&cookie=4294967296&offset=0&size=1", "cookie"},
	{"volume=1&needle=0x1&cookie=1&offset=0&size=1", "needle"},
	{"file_id=2,01f2aeac28&offset=0&size=1&volume_server=" + strings.Repeat("x", maxQueryBytes), "over the"},
}

func TestAQueryThatNamesNoPieceSaysWhy(t *testing.T) {
	t.Parallel()
	for _, x := range wrong {
		if _, err := parsePiece(x[0], 1<<20); err == nil || !strings.Contains(err.Error(), x[1]) {
			t.Errorf("%.100s: %v", x[0], err)
		}
	}
}

func TestAWrongRequestNeverReachesTheEngine(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, MaxSize: 1 << 20})
	for _, x := range wrong {
		if got := s.get(t, "/read?"+x[0]); got.status != http.StatusBadRequest {
			t.Errorf("%.100s: status %d, %q", x[0], got.status, got.body)
		}
	}
	s.awaitCount(t, badRequest, len(wrong))
	if n := s.value(t, "sidecar_engine_leases_total", ""); n != 0 {
		t.Errorf("the engine granted %v leases", n)
	}
}

func FuzzAQueryIsRefusedOrNamesAPieceWithinItsBounds(f *testing.F) {
	for _, x := range wrong {
		f.Add(x[0])
	}
	f.Add("file_id=2,01f2aeac28&offset=16384&size=32768&volume_server=http://127.0.0.1:8080")
	f.Fuzz(func(t *testing.T, query string) {
		p, err := parsePiece(query, 1<<20)
		if err == nil && (p.Size == 0 || p.Size > 1<<20 || p.Offset+p.Size > 1<<63-1 || p.Offset+p.Size < p.Size) {
			t.Errorf("%+v", p)
		}
	})
}
