package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestALeaseThatHasExpiredIsReported(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	r := own(helloNeedle)
	r.Timeout = time.Second
	sent := time.Now()
	view := read(t, c, r)
	if view.Deadline().Before(sent.Add(r.Timeout-50*time.Millisecond)) || view.Deadline().After(time.Now().Add(r.Timeout)) {
		t.Errorf("the deadline is %v after the request", view.Deadline().Sub(sent))
	}
	time.Sleep(time.Until(view.Deadline()))
	if err := view.Close(); !errors.Is(err, ErrExpired) {
		t.Errorf("closed late: %v", err)
	}
	awaitNoSessions(t, e)
}

func TestTheEnginesOwnTimeoutCutsALongLease(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t, "--session-timeout", "7"), Options{})
	before := time.Now()
	view := read(t, c, own(helloNeedle))
	defer view.Close()
	const lease, slew = 7 * time.Second, 50 * time.Millisecond
	if view.Deadline().Before(before.Add(lease-slew)) || view.Deadline().After(time.Now().Add(lease+slew)) {
		t.Errorf("the lease lasts %v", time.Until(view.Deadline()))
	}
}

func TestACopyThatTookTooLongIsKeptOnlyIfTheEngineStillHeldTheLease(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	ctx := context.Background()
	view := read(t, c, own(helloNeedle))
	view.deadline = time.Now()
	if err := view.finish(ctx); err != nil {
		t.Errorf("the lease was good, and finish says %v", err)
	}
	view = read(t, c, own(helloNeedle))
	view.deadline = time.Now()
	done := view.completion(time.Now())
	conn, err := c.do(ctx, &done.completeRead)
	if err != nil {
		t.Fatal(err)
	}
	c.release(conn)
	if err := view.finish(ctx); !errors.Is(err, ErrExpired) {
		t.Errorf("the lease had ended, and finish says %v", err)
	}
	awaitNoSessions(t, e)
}

func TestTheDeadlineIsNeverLaterThanTheEnginesOrWasAsked(t *testing.T) {
	// Without monotonic readings, these times pass with the wall clock.
	sent := time.Unix(1000, 0)
	at := func(d time.Duration) uint64 { return uint64(sent.Add(d).UnixNano()) }
	for _, x := range []struct {
		expires           uint64
		took, asked, want time.Duration
	}{
		{at(30 * time.Second), 0, 0, 30 * time.Second},
		{at(30 * time.Second), 10 * time.Second, 0, 30 * time.Second},
		{at(30 * time.Second), time.Second, time.Minute, 30 * time.Second},
		{at(30 * time.Second), time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{at(-time.Second), 0, time.Minute, -time.Second},
		{1<<64 - 1, 0, time.Minute, time.Minute},
		{0, 0, time.Minute, -1000 * time.Second},
	} {
		if got := leaseTime(x.expires, sent, sent.Add(x.took), x.asked); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
}

func TestAClosedClientRefusesEverything(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	ctx := context.Background()
	if _, err := c.Read(ctx, own(helloNeedle)); !errors.Is(err, ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := c.ReadAll(ctx, own(helloNeedle)); !errors.Is(err, ErrClosed) {
		t.Errorf("ReadAll: %v", err)
	}
	if _, err := c.Ping(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Ping: %v", err)
	}
	if err := c.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("Close again: %v", err)
	}
}

func TestAViewKeepsItsLeaseWhenTheClientIsClosed(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--client-grace", "0s")
	c := open(t, e, Options{})
	first, second := read(t, c, own(helloNeedle)), read(t, c, small(1))
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if active := activeSessions(t, e); active != 2 {
		t.Errorf("%v sessions are active", active)
	}
	if string(first.Bytes()) != "hello" {
		t.Error("the view changed")
	}
	for _, view := range []*View{first, second} {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	}
	awaitNoSessions(t, e)
	await(t, "the last connection is closed", func() bool { return e.Metric(t, "rdma_connections_active") == 0 })
	if s := c.Stats(); s.Completed != 2 || c.run.Load() != nil {
		t.Errorf("%+v, a pool mapped: %v", s, c.run.Load() != nil)
	}
}

func TestAReadUnderWayWhenTheClientIsClosedGetsItsView(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 1})
	warm(t, c, 1)
	resume := pause(t, e)
	got := make(chan *View)
	go func() {
		view, err := c.Read(context.Background(), own(helloNeedle))
		if err != nil {
			t.Error(err)
		}
		got <- view
	}()
	await(t, "the read is under way", func() bool { return c.Stats().IdleConns == 0 })
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	await(t, "the client closes", c.closed.Load)
	resume()
	view := <-got
	if err := <-closed; err != nil || view == nil {
		t.Fatalf("Close: %v, view: %v", err, view)
	}
	if string(view.Bytes()) != "hello" {
		t.Error("the view differs")
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	awaitNoSessions(t, e)
	await(t, "the last connection is closed", func() bool { return e.Metric(t, "rdma_connections_active") == 0 })
}

func TestClientsLeaveNoDescriptorsOrMappingsBehind(t *testing.T) {
	// Not parallel: it counts this process's descriptors.
	e := startEngine(t)
	cycle := func() {
		c := open(t, e, Options{MaxConns: 4})
		var views []*View
		for i := range 8 {
			views = append(views, read(t, c, small(i)))
		}
		for _, view := range views {
			view.Close()
		}
		c.Close()
	}
	cycle()
	fds, pools := openDescriptors(t), mappedPools(t)
	for range 20 {
		cycle()
	}
	if now := openDescriptors(t); now > fds {
		t.Errorf("%d descriptors became %d", fds, now)
	}
	if now := mappedPools(t); now > pools {
		t.Errorf("%d mapped pools became %d", pools, now)
	}
}
