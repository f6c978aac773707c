package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

// pause stops the engine's process; the returned function lets it go on.
func pause(t *testing.T, e *enginetest.Engine) (resume func()) {
	t.Helper()
	if err := e.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	resume = func() { once.Do(func() { e.Signal(syscall.SIGCONT) }) }
	t.Cleanup(resume)
	await(t, "every thread of the engine stops", func() bool { return stopped(t, e.Pid()) })
	return resume
}

// stopped reports whether all threads of a process are in state T; see proc_pid_stat(5).
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d: %v, %v", pid, threads, err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err == nil && !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return true
}

func TestAConnectionIsNotUsedAgainAfterACallWasGivenUp(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 1})
	warm(t, c, 1)
	for name, giveUp := range map[string]func() (context.Context, context.CancelFunc){
		"timeout": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 30*time.Millisecond)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(30*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		warm(t, c, 1)
		dials := c.Stats().Dials
		resume := pause(t, e)
		ctx, cancel := giveUp()
		_, err := c.Read(ctx, small(0))
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if s := c.Stats(); s.OpenConns != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		resume()
		if data, err := c.ReadAll(context.Background(), small(1)); err != nil || !bytes.Equal(data, smallData(smallNeedles+1)) {
			t.Errorf("after %s: %d bytes, %v", name, len(data), err)
		}
		if s := c.Stats(); s.Dials != dials+1 {
			t.Errorf("after %s: %+v", name, s)
		}
	}
	// What the engine was about to answer is freed, because nobody is there any more.
	awaitNoSessions(t, e)
}

func TestCompleteReadsOfAGivenUpCallAreSentAgain(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 1, CompleteDelay: never})
	read(t, c, small(0)).Close()
	resume := pause(t, e)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx, small(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	resume()
	if s := c.Stats(); s.PendingCompletes != 1 || s.CompletesCarried != 1 {
		t.Errorf("%+v", s)
	}
	read(t, c, small(2)).Close()
	c.Close()
	if s := c.Stats(); s.CompletesCarried != 2 || s.CompleteErrors != 0 || s.Completed != 2 {
		t.Errorf("%+v", s)
	}
	awaitNoSessions(t, e)
}

func TestAReadThatWaitsForRoomCanBeGivenUp(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	views := fillPool(t, e, c)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() {
		_, err := c.Read(ctx, largePart())
		got <- err
	}()
	awaitWaiters(t, e, 1)
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	awaitWaiters(t, e, 0)
	for _, view := range views {
		if err := view.Verify(); err != nil {
			t.Error(err)
		}
		view.Close()
	}
	awaitNoSessions(t, e)
	read(t, c, largePart()).Close()
}

func TestAReadThatFindsNoRoomUntilItsLeaseWouldEndIsRefused(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	for _, view := range fillPool(t, e, c) {
		defer view.Close()
	}
	r := largePart()
	r.Timeout = time.Second
	_, err := c.Read(context.Background(), r)
	wantCode(t, err, ResourceExhausted, "resource", true)
}

func TestReadsGivenUpAtAnyMomentLeakNothing(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 4})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			random := rand.New(rand.NewSource(int64(g)))
			for i := range 100 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.Intn(500))*time.Microsecond)
				r := small(i)
				r.Timeout = time.Second // for a reply lost in the last moment
				view, err := c.Read(ctx, r)
				if err == nil {
					if !bytes.Equal(view.Bytes(), smallData(smallNeedles+i)) {
						t.Error("a view differs")
					}
					view.Close()
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				cancel()
			}
		}()
	}
	wg.Wait()
	awaitNoSessions(t, e)
	if s := c.Stats(); s.OpenConns != s.IdleConns || s.OpenConns > 4 {
		t.Errorf("%+v", s)
	}
	read(t, c, small(0)).Close()
}
