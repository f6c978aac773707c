package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/enginetest"
)

// large is more than the kernel keeps for a connection whose client takes nothing.
const large = 15 << 20

// pause stops the engine's process until the test ends, or resume is called.
func pause(t *testing.T, e *enginetest.Engine) (resume func()) {
	t.Helper()
	if err := e.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() { e.Signal(syscall.SIGCONT) }
	t.Cleanup(resume)
	return resume
}

func TestAClientThatTakesNothingIsCutOffAndItsBufferComesBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience, WriteTimeout: 2 * time.Second})
	c := beSluggish(t, s, query(bigNeedle, 0, large))
	s.awaitCount(t, aborted, 1)
	awaitNoSessions(t, e)
	if got := c.rest(); len(got) >= large || !bytes.Equal(got, bigData()[:len(got)]) {
		t.Errorf("%d bytes came", len(got))
	}
}

func TestAResponseIsCutOffBeforeItsLeaseEnds(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--session-timeout", "4s", "--session-timeout-max", "4s")
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience, WriteTimeout: patience})
	c := beSluggish(t, s, query(bigNeedle, 0, large))
	s.awaitCount(t, aborted, 1)
	if got := c.rest(); len(got) >= large || !bytes.Equal(got, bigData()[:len(got)]) {
		t.Errorf("%d bytes came", len(got))
	}
}

// lateWriter is a response whose writes of more than a byte end no earlier than a given time, whatever deadline it was
// given: like those of a process that was stopped meanwhile.
type lateWriter struct {
	until   time.Time
	header  http.Header
	written bytes.Buffer
}

func (w *lateWriter) Header() http.Header              { return w.header }
func (w *lateWriter) WriteHeader(int)                  {}
func (w *lateWriter) Flush()                           {}
func (w *lateWriter) SetWriteDeadline(time.Time) error { return nil }

func (w *lateWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Until(w.until))
	return w.written.Write(p)
}

func TestAResponseIsNeverCompletedAfterItsLeaseEnded(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--session-timeout", "4s", "--session-timeout-max", "4s")
	o, err := Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	source := newEngineSource(o)
	defer source.close()
	for _, x := range []struct {
		late time.Duration
		want int
		err  error
	}{{-time.Hour, 4096, nil}, {time.Millisecond, 4095, engine.ErrExpired}} {
		body, err := source.open(context.Background(), &piece{Request: engine.Request{Volume: volume, Needle: chunkNeedle, Cookie: cookie, Size: 4096}})
		if err != nil {
			t.Fatal(err)
		}
		w := &lateWriter{until: body.(*lease).view.Deadline().Add(x.late)}
		if err := body.send(w, time.Now().Add(patience)); !errors.Is(err, x.err) || w.written.Len() != x.want {
			t.Errorf("%v late: %v, %d bytes", x.late, err, w.written.Len())
		}
		body.close()
	}
}

func TestALeaseTooShortToSendItsBytesIsRefused(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t, "--session-timeout", "100ms", "--session-timeout-max", "100ms"))
	if got := s.read(t, chunkNeedle, 0, 1); got.status != http.StatusBadGateway || !strings.Contains(string(got.body), "session_timeout_max") {
		t.Errorf("status %d, %q", got.status, got.body)
	}
}

func TestReadsOverTheLimitAreToldToComeBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience, WriteTimeout: patience, MaxRequests: 1})
	c := beSluggish(t, s, query(bigNeedle, 0, large))
	got := s.read(t, chunkNeedle, 0, 1)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("status %d, %q", got.status, got.body)
	}
	s.awaitCount(t, busy, 1)
	if got := s.get(t, "/health"); got.status != http.StatusOK {
		t.Errorf("/health: status %d, %q", got.status, got.body)
	}
	c.Close()
	await(t, "there is room again", func() bool { return s.read(t, chunkNeedle, 0, 1).status == http.StatusOK })
}

func TestConnectionsOverTheLimitWaitTheirTurn(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Engine: engine.Options{Socket: startEngine(t).Socket}, MaxRequests: 1})
	var idle []net.Conn
	for range connsPerRequest {
		conn, err := net.Dial("tcp", s.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// Answered, so that it is known to have been accepted.
		if _, err := fmt.Fprint(conn, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	answered := make(chan int, 1)
	go func() {
		answer, err := http.Get(s.url + "/cleanup")
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		answer.Body.Close()
		answered <- answer.StatusCode
	}()
	select {
	case status := <-answered:
		t.Errorf("answered beside %d others: %d", connsPerRequest, status)
	case <-time.After(100 * time.Millisecond): // only lets a wrong answer show
	}
	idle[0].Close()
	if status := <-answered; status != http.StatusMethodNotAllowed {
		t.Errorf("status %d", status)
	}
}

func TestHeadersAndBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	for _, x := range []struct{ request, status string }{
		{"GET /health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", maxHeaderBytes+8<<10) + "\r\n\r\n", "431"},
		{"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", "400"},
		{"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"nonsense\r\n\r\n", "400"},
	} {
		conn, err := net.Dial("tcp", s.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, x.request)
		line := make([]byte, len("HTTP/1.1 400"))
		if _, err := io.ReadFull(conn, line); err != nil || !strings.HasSuffix(string(line), x.status) {
			t.Errorf("%.60q: %q, %v", x.request, line, err)
		}
		conn.Close()
	}
}

func TestAStopLetsReadsUnderWayFinish(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience, WriteTimeout: patience, StopTimeout: patience})
	c := beSluggish(t, s, query(bigNeedle, 0, large))
	s.cancel()
	await(t, "nobody is let in any more", func() bool {
		conn, err := net.Dial("tcp", s.url[len("http://"):])
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if got := c.rest(); !bytes.Equal(got, bigData()[:large]) {
		t.Errorf("%d bytes came", len(got))
	}
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
	awaitNoSessions(t, e)
}

func TestAStopWaitsForNobodyForEver(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := start(t, Options{Engine: engine.Options{Socket: e.Socket}, Timeout: patience, WriteTimeout: time.Hour, StopTimeout: 100 * time.Millisecond})
	c := beSluggish(t, s, query(bigNeedle, 0, large))
	s.cancel()
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
	if got := c.rest(); len(got) >= large {
		t.Errorf("%d bytes came", len(got))
	}
	awaitNoSessions(t, e)
}
