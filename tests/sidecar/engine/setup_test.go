package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

const (
	realVolume  = 1
	ownVolume   = 2
	otherVolume = 7 // of collection "pictures"
	cookie      = 0x637037d6

	helloNeedle   = 1
	emptyNeedle   = 2
	gzipNeedle    = 3
	bigNeedle     = 4
	corruptNeedle = 5
	// Needles of 4 KiB, each other bytes.
	smallNeedles = 100
	smallCount   = 200

	bigBytes   = 20<<20 + 4711
	smallBytes = 4096
)

// randomBytes are the same for the same seed.
func randomBytes(seed int64, n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return b
}

var bigData = sync.OnceValue(func() []byte { return randomBytes(bigNeedle, bigBytes) })

func helloData() []byte         { return []byte("hello") }
func gzipData() []byte          { return bytes.Repeat([]byte("all work and no play "), 50_000) }
func smallData(id int) []byte   { return randomBytes(int64(id), smallBytes) }
func own(needle uint64) Request { return Request{Volume: ownVolume, Needle: needle, Cookie: cookie} }
func small(i int) Request       { return own(uint64(smallNeedles + i%smallCount)) }

// volumes is the folder of the volumes all tests read.
var volumes string

func writeVolumes() error {
	v := enginetest.NewVolume()
	v.Put(helloNeedle, cookie, helloData())
	v.Put(emptyNeedle, cookie, nil)
	v.PutGzip(gzipNeedle, cookie, gzipData())
	v.Put(bigNeedle, cookie, bigData())
	v.PutCorrupt(corruptNeedle, cookie, helloData())
	for i := range smallCount {
		id := smallNeedles + i
		v.Put(uint64(id), cookie, smallData(id))
	}
	other := enginetest.NewVolume()
	other.Put(helloNeedle, cookie, helloData())
	return errors.Join(
		v.Write(volumes, "", ownVolume),
		other.Write(volumes, "pictures", otherVolume),
		enginetest.CopyRealVolume(volumes, realVolume),
	)
}

// startEngine runs an engine on the tests' volumes.
func startEngine(t testing.TB, args ...string) *enginetest.Engine {
	t.Helper()
	return enginetest.Start(t, volumes, args...)
}

func open(t testing.TB, e *enginetest.Engine, o Options) *Client {
	t.Helper()
	o.Socket = e.Socket
	c, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, e.Log())
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func read(t testing.TB, c *Client, r Request) *View {
	t.Helper()
	view, err := c.Read(context.Background(), r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return view
}

// await waits until something that is bound to happen has happened.
func await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for !happened() {
		if time.Now().After(limit) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func activeSessions(t testing.TB, e *enginetest.Engine) float64 {
	t.Helper()
	return e.Metric(t, "rdma_sessions_active")
}

// awaitNoSessions waits until every lease has come back.
func awaitNoSessions(t testing.TB, e *enginetest.Engine) {
	t.Helper()
	await(t, "all sessions end", func() bool { return activeSessions(t, e) == 0 })
}

// mappedPools counts the pools this process has mapped: each is a memfd.
func mappedPools(t testing.TB) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "memfd:")
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestMain writes the volumes and starts the engine the examples read from, whose socket is
// named in the environment.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	var err error
	if volumes, err = os.MkdirTemp("", "volumes"); err == nil {
		defer os.RemoveAll(volumes)
		err = writeVolumes()
	}
	var e *enginetest.Engine
	if err == nil {
		e, err = enginetest.Run(volumes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("RDMA_SOCKET_PATH", e.Socket)
	code = m.Run()
	if err := e.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
