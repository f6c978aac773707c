package serve

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rdma-engine/sidecar/engine"
)

// healthOf is what the mount reads of /health.
func healthOf(t *testing.T, s *sidecar) (status int, health struct {
	Status string
	RDMA   struct{ Enabled, Connected bool }
}) {
	t.Helper()
	got := s.get(t, "/health")
	if err := json.Unmarshal(got.body, &health); err != nil {
		t.Fatalf("%q: %v", got.body, err)
	}
	return got.status, health
}

func isHealthy(t *testing.T, s *sidecar) bool {
	t.Helper()
	status, health := healthOf(t, s)
	healthy := health.Status == "healthy"
	if healthy != (status == http.StatusOK) || healthy != health.RDMA.Connected || !health.RDMA.Enabled {
		t.Errorf("status %d with %+v", status, health)
	}
	return healthy
}

func TestHealthFollowsTheEngine(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := through(t, e)
	await(t, "the engine is found", func() bool { return isHealthy(t, s) })
	e.Kill()
	await(t, "the engine is missed", func() bool { return !isHealthy(t, s) })
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, "the engine is found again", func() bool { return isHealthy(t, s) })
}

func TestAnEngineThatDoesNotAnswerIsNotHealthy(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := through(t, e)
	await(t, "the engine is found", func() bool { return isHealthy(t, s) })
	resume := pause(t, e)
	await(t, "the engine is missed", func() bool { return !isHealthy(t, s) })
	resume()
	await(t, "the engine is found again", func() bool { return isHealthy(t, s) })
}

func TestTheSidecarMayBeThereBeforeTheEngine(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	e.Kill()
	s := through(t, e)
	if isHealthy(t, s) {
		t.Error("healthy without an engine")
	}
	got := s.read(t, chunkNeedle, 0, 10)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), "start the engine") {
		t.Errorf("status %d, %q", got.status, got.body)
	}
	s.awaitCount(t, engineDown, 1)
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, "reads are served", func() bool { return s.read(t, chunkNeedle, 0, 10).status == http.StatusOK })
}

func TestAnEngineThatTakesTooLongIsATimeout(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: 500 * time.Millisecond})
	await(t, "reads are served", func() bool { return s.read(t, chunkNeedle, 0, 10).status == http.StatusOK })
	resume := pause(t, e)
	if got := s.read(t, chunkNeedle, 0, 10); got.status != http.StatusGatewayTimeout {
		t.Errorf("status %d, %q", got.status, got.body)
	}
	resume()
	await(t, "reads are served again", func() bool { return s.read(t, chunkNeedle, 0, 10).status == http.StatusOK })
	awaitNoSessions(t, e)
}

func TestReadersSeeRightBytesOrErrorsWhileTheEngineIsRestarted(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	var log lockedBuffer
	s := start(t, Options{
		Engine: engine.Options{Socket: e.Socket}, Timeout: patience, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	data := chunkData()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for worker := range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for i := worker; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				offset := i * 4096 % (chunkBytes - 65536)
				got := s.read(t, chunkNeedle, offset, 65536-1)
				switch got.status {
				case http.StatusOK:
					if !bytes.Equal(got.body, data[offset:offset+65536-1]) {
						t.Errorf("other bytes from %d on", offset)
					}
				case http.StatusServiceUnavailable:
				default:
					t.Errorf("status %d, %q", got.status, got.body)
				}
			}
		}()
	}
	for range 2 {
		before := s.count(t, served)
		await(t, "reads are served", func() bool { return s.count(t, served) > before+20 })
		down := s.count(t, engineDown)
		e.Kill()
		await(t, "reads fail", func() bool { return s.count(t, engineDown) > down })
		if err := e.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	before := s.count(t, served)
	await(t, "reads are served again", func() bool { return s.count(t, served) > before+20 })
	close(stop)
	readers.Wait()
	awaitNoSessions(t, e)
	if said := log.String(); !strings.Contains(said, "serves nothing") || !strings.Contains(said, "serves again") {
		t.Errorf("the log has %q", said)
	}
}

func TestTheEnginesTokenIsShown(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/token"
	writeFile(t, file, "s3cret\n")
	e := startEngine(t, "--auth-token-file", file)
	with := start(t, Options{Engine: engine.Options{Socket: e.Socket, Token: "s3cret"}, Timeout: patience})
	if got := with.read(t, chunkNeedle, 0, 10); got.status != http.StatusOK {
		t.Errorf("with it: status %d, %q", got.status, got.body)
	}
	without := through(t, e)
	if got := without.read(t, chunkNeedle, 0, 10); got.status != http.StatusBadGateway || !strings.Contains(string(got.body), "UNAUTHENTICATED") {
		t.Errorf("without it: status %d, %q", got.status, got.body)
	}
	if isHealthy(t, without) {
		t.Error("healthy without it")
	}
}

func TestMetricsAndStatsSayWhatHappened(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	s.read(t, chunkNeedle, 0, 1000)
	s.read(t, chunkNeedle, 0, 234)
	s.read(t, chunkNeedle, chunkBytes-1, 1)
	s.awaitCount(t, served, 2)
	s.awaitCount(t, cut, 1)
	text := string(s.get(t, "/metrics").body)
	for _, line := range []string{
		`sidecar_reads_total{result="served"} 2`, `sidecar_reads_total{result="cut"} 1`, `sidecar_reads_total{result="busy"} 0`,
		`sidecar_read_bytes_total{source="engine"} 1234`, `sidecar_read_bytes_total{source="http"} 0`,
		`sidecar_read_duration_seconds_count{result="served"} 2`, `sidecar_reads_in_flight 0`,
		`sidecar_fallbacks_total{result="success"} 0`, `sidecar_engine_leases_total 3`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("/metrics has no line %s", line)
		}
	}
	var stats struct {
		Reads    map[string]int `json:"reads_total"`
		Bytes    map[string]int `json:"read_bytes_total"`
		InFlight *int           `json:"reads_in_flight"`
	}
	got := s.get(t, "/stats")
	if err := json.Unmarshal(got.body, &stats); err != nil || stats.Reads["served"] != 2 || stats.Reads["cut"] != 1 ||
		stats.Bytes["engine"] != 1234 || stats.InFlight == nil {
		t.Errorf("/stats: %s, %v", got.body, err)
	}
}
