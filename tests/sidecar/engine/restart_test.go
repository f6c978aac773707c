package engine

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

func TestAfterACrashOfTheEngineReadsGoToTheNewOne(t *testing.T) {
	// Not parallel: it counts the pools this process has mapped.
	e := startEngine(t)
	before := mappedPools(t)
	c := open(t, e, Options{MaxConns: 2})
	old, other := read(t, c, own(gzipNeedle)), read(t, c, small(1))
	e.Kill()
	if _, err := c.Read(context.Background(), own(helloNeedle)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("with no engine: %v", err)
	}
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	view := read(t, c, own(helloNeedle))
	if string(view.Bytes()) != "hello" || !bytes.Equal(old.Bytes(), gzipData()) {
		t.Error("the bytes differ")
	}
	if s := c.Stats(); s.Remaps != 1 {
		t.Errorf("%+v", s)
	}
	if pools := mappedPools(t) - before; pools != 2 {
		t.Errorf("%d pools are mapped, want the new one and that of the open views", pools)
	}
	for _, v := range []*View{old, other, view} {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	await(t, "the old pool is unmapped", func() bool { return mappedPools(t)-before == 1 })
	awaitNoSessions(t, e)
	if s := c.Stats(); s.CompletesLost != 2 || s.CompleteErrors != 0 {
		t.Errorf("%+v", s)
	}
	c.Close()
	if pools := mappedPools(t) - before; pools != 0 {
		t.Errorf("%d pools are mapped after Close", pools)
	}
}

func TestAnIdleClientDoesNotNoticeARestart(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	read(t, c, own(helloNeedle)).Close()
	await(t, "the lease ends", func() bool { return c.Stats().Completed == 1 })
	e.Kill()
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		read(t, c, own(helloNeedle)).Close()
	}
	if s := c.Stats(); s.Retries != 1 || s.Remaps != 1 || s.OpenConns != 1 {
		t.Errorf("%+v", s)
	}
	awaitNoSessions(t, e)
}

// readAcrossARestart restarts the engine and returns a View of the new run, while the control
// connection is still that of the old run; the caller holds control.mu.
func readAcrossARestart(t *testing.T, e *enginetest.Engine, c *Client) *View {
	t.Helper()
	e.Kill()
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	view := read(t, c, own(helloNeedle))
	if c.control.conn.pool == c.run.Load() {
		t.Fatal("the control connection is that of the new run already")
	}
	return view
}

func TestAFlushRightAfterARestartGivesTheNewRunsBuffersBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{CompleteDelay: never})
	c.control.mu.Lock()
	defer c.control.mu.Unlock()
	if err := readAcrossARestart(t, e, c).Close(); err != nil {
		t.Error(err)
	}
	c.sendPending(time.Now().Add(c.opts.Timeout))
	if s := c.Stats(); s.CompletesLost != 0 || s.CompletesFlushed != 1 || s.Completed != 1 || s.PendingCompletes != 0 {
		t.Errorf("%+v", s)
	}
	if active := activeSessions(t, e); active != 0 {
		t.Errorf("%v sessions are active", active)
	}
}

func TestAClientClosedRightAfterARestartGivesItsBuffersBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--client-grace", "0s")
	c := open(t, e, Options{CompleteDelay: never})
	closed := make(chan error, 1)
	closeAfterARestart := func() (held *View) {
		c.control.mu.Lock()
		defer c.control.mu.Unlock()
		done := readAcrossARestart(t, e, c)
		held = read(t, c, small(1))
		if err := done.Close(); err != nil {
			t.Error(err)
		}
		go func() { closed <- c.Close() }()
		await(t, "the client closes", c.closed.Load)
		return held
	}
	held := closeAfterARestart()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.CompletesLost != 0 || s.Completed != 1 {
		t.Errorf("after Close: %+v", s)
	}
	if active := activeSessions(t, e); active != 1 {
		t.Errorf("%v sessions are active, want that of the open view", active)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	c.flush()
	if s := c.Stats(); s.CompletesLost != 0 || s.Completed != 2 || c.run.Load() != nil {
		t.Errorf("after the last view: %+v, a pool mapped: %v", s, c.run.Load() != nil)
	}
	if active := activeSessions(t, e); active != 0 {
		t.Errorf("%v sessions are active", active)
	}
}
