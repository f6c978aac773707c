package engine

import (
	"context"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

// never is a delay no test waits for.
const never = time.Hour

func TestACompleteReadTravelsWithTheNextRead(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{CompleteDelay: never, MaxConns: 1})
	const reads = 50
	for i := range reads {
		read(t, c, small(i)).Close()
	}
	s := c.Stats()
	if s.CompletesCarried != reads-1 || s.Completed != reads-1 || s.CompletesFlushed != 0 || s.PendingCompletes != 1 {
		t.Errorf("after %d reads: %+v", reads, s)
	}
	if active := activeSessions(t, e); active != 1 {
		t.Errorf("%v sessions are active, want the last one", active)
	}
	if sent := e.Metric(t, "rdma_operations_total", `type="complete_read"`, `result="ok"`); sent != reads-1 {
		t.Errorf("the engine counted %v CompleteReads", sent)
	}
	c.Close()
	if s := c.Stats(); s.CompletesFlushed != 1 || s.Completed != reads || s.CompleteErrors != 0 {
		t.Errorf("after Close: %+v", s)
	}
	awaitNoSessions(t, e)
}

func TestACompleteReadNobodyTakesAlongGoesOutByItself(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	read(t, c, small(0)).Close()
	awaitNoSessions(t, e)
	await(t, "the reply", func() bool { return c.Stats().Completed == 1 })
	if s := c.Stats(); s.CompletesFlushed != 1 || s.CompletesCarried != 0 {
		t.Errorf("%+v", s)
	}
}

func TestManyCompleteReadsGoOutTogether(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{CompleteDelay: never})
	var views []*View
	for i := range 3*maxCarried + 1 {
		views = append(views, read(t, c, small(i)))
	}
	for _, view := range views {
		view.Close()
	}
	if s := c.Stats(); s.PendingCompletes != len(views) {
		t.Errorf("%+v", s)
	}
	read(t, c, small(0)).Close()
	if s := c.Stats(); s.CompletesCarried != maxCarried {
		t.Errorf("%+v", s)
	}
	c.flush()
	if s := c.Stats(); s.PendingCompletes != 0 || s.CompleteErrors != 0 || s.Completed != uint64(len(views)+1) {
		t.Errorf("%+v", s)
	}
	if active := activeSessions(t, e); active != 0 {
		t.Errorf("%v sessions are active", active)
	}
}

func TestABufferIsGivenBackEvenWhenEveryConnectionWaitsForOne(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 1})
	views := fillPool(t, e, c)
	got := make(chan error, 1)
	go func() {
		view, err := c.Read(context.Background(), largePart())
		if err == nil {
			view.Close()
		}
		got <- err
	}()
	awaitWaiters(t, e, 1)
	for _, view := range views {
		view.Close()
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	awaitNoSessions(t, e)
}

// largePart takes a buffer of at least 16 MiB, where the pool has 64.
func largePart() Request {
	r := own(bigNeedle)
	r.Size = 16 << 20
	return r
}

// fillPool holds large parts until the engine has no room for another.
func fillPool(t *testing.T, e *enginetest.Engine, c *Client) []*View {
	t.Helper()
	var views []*View
	for {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		got := make(chan *View, 1)
		go func() {
			view, _ := c.Read(ctx, largePart())
			got <- view
		}()
		await(t, "a read has room or waits", func() bool {
			return len(got) == 1 || e.Metric(t, "rdma_pool_waiters") == 1
		})
		cancel()
		view := <-got
		if view == nil {
			break
		}
		views = append(views, view)
	}
	awaitWaiters(t, e, 0)
	if len(views) == 0 {
		t.Fatal("the pool has no room for a single part")
	}
	return views
}

func awaitWaiters(t *testing.T, e *enginetest.Engine, n float64) {
	t.Helper()
	await(t, "reads wait for room", func() bool { return e.Metric(t, "rdma_pool_waiters") == n })
}
