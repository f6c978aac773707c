package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/enginetest"
)

const (
	volume = 3
	cookie = 0x637037d6

	chunkNeedle   = 1 // 4 MiB, as weed mount cuts files
	textNeedle    = 2 // stored compressed
	emptyNeedle   = 3
	corruptNeedle = 4
	bigNeedle     = 5

	chunkBytes = 4 << 20
	bigBytes   = 20 << 20
	patience   = 30 * time.Second
)

func randomBytes(seed int64, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return b
}

var (
	chunkData = sync.OnceValue(func() []byte { return randomBytes(chunkNeedle, chunkBytes) })
	textData  = sync.OnceValue(func() []byte { return bytes.Repeat([]byte("all work and no play "), 50_000) })
	bigData   = sync.OnceValue(func() []byte { return randomBytes(bigNeedle, bigBytes) })
)

func fileID(needle uint64) string { return fmt.Sprintf("%d,%x%08x", volume, needle, cookie) }

// startEngine runs an engine on a volume with the needles above.
func startEngine(t *testing.T, args ...string) *enginetest.Engine {
	t.Helper()
	dir := t.TempDir()
	v := enginetest.NewVolume()
	v.Put(chunkNeedle, cookie, chunkData())
	v.PutGzip(textNeedle, cookie, textData())
	v.Put(emptyNeedle, cookie, nil)
	v.PutCorrupt(corruptNeedle, cookie, textData())
	v.Put(bigNeedle, cookie, bigData())
	if err := v.Write(dir, "", volume); err != nil {
		t.Fatal(err)
	}
	return enginetest.Start(t, dir, args...)
}

// sidecar is a Server that runs until the test ends, or stop.
type sidecar struct {
	*Server
	url    string
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, o Options) *sidecar {
	t.Helper()
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &sidecar{server, "http://" + listener.Addr().String(), cancel, make(chan error, 1)}
	go func() { s.ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := s.wait(t); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wait returns what Serve returned.
func (s *sidecar) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		s.ended <- err
		return err
	case <-time.After(patience):
		t.Fatal("the server does not stop")
		return nil
	}
}

// through serves from e.
func through(t *testing.T, e *enginetest.Engine) *sidecar {
	t.Helper()
	return start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience})
}

// response is one that arrived whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (s *sidecar) do(t *testing.T, method, path string) response {
	t.Helper()
	request, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Every one on a connection of its own, for no test to depend on what another left.
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{answer.StatusCode, answer.Header, body}
}

func (s *sidecar) get(t *testing.T, path string) response {
	t.Helper()
	return s.do(t, http.MethodGet, path)
}

func query(needle uint64, offset, size int) string {
	return fmt.Sprintf("/read?file_id=%s&offset=%d&size=%d", fileID(needle), offset, size)
}

func (s *sidecar) read(t *testing.T, needle uint64, offset, size int) response {
	t.Helper()
	return s.get(t, query(needle, offset, size))
}

// count is that of reads that ended so. A read is counted a moment after its response.
func (s *sidecar) count(t *testing.T, r result) float64 {
	t.Helper()
	return s.value(t, "sidecar_reads_total", string(r))
}

// value reads one of the server's metrics.
func (s *sidecar) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := s.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s{%s}", name, label)
	return 0
}

// await waits until something that is bound to happen has happened.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	limit := time.Now().Add(patience)
	for !happened() {
		if time.Now().After(limit) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// awaitCount waits until so many reads have ended so.
func (s *sidecar) awaitCount(t *testing.T, r result, n int) {
	t.Helper()
	await(t, fmt.Sprintf("%d reads end with %q", n, r), func() bool { return s.count(t, r) == float64(n) })
}

func awaitNoSessions(t *testing.T, e *enginetest.Engine) {
	t.Helper()
	await(t, "all leases end", func() bool { return e.Metric(t, "rdma_sessions_active") == 0 })
}

// sluggish asks for a piece and takes no more of it than its first line. What it does not take stays, but for the few
// MiB the kernel keeps, with the server.
type sluggish struct {
	*net.TCPConn
}

func beSluggish(t *testing.T, s *sidecar, path string) sluggish {
	t.Helper()
	conn, err := net.Dial("tcp", s.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := sluggish{conn.(*net.TCPConn)}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	want := []byte("HTTP/1.1 200 OK\r\n")
	line := make([]byte, len(want))
	if _, err := io.ReadFull(c, line); err != nil || !bytes.Equal(line, want) {
		t.Fatalf("%q, %v", line, err)
	}
	return c
}

// rest takes what is left, and returns the body.
func (c sluggish) rest() []byte {
	// An error is a connection cut off, and shows by what is missing.
	all, _ := io.ReadAll(c)
	_, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	return body
}
