package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"
)

func TestCallsWaitForAConnectionAndAllSucceed(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 2})
	// So that only replies are missing while the engine is stopped.
	warm(t, c, 2)
	resume := pause(t, e)
	const callers = 16
	before := c.Stats().Waits
	failed := make(chan error, callers)
	for i := range callers {
		go func() {
			data, err := c.ReadAll(context.Background(), small(i))
			if err == nil && !bytes.Equal(data, smallData(smallNeedles+i)) {
				err = fmt.Errorf("read %d differs", i)
			}
			failed <- err
		}()
	}
	await(t, "all but 2 wait", func() bool { c.conns.mu.Lock(); defer c.conns.mu.Unlock(); return len(c.conns.waiters) == callers-2 })
	resume()
	for range callers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if s := c.Stats(); s.Waits-before != callers-2 || s.OpenConns != 2 || s.IdleConns != 2 {
		t.Errorf("%+v", s)
	}
	awaitNoSessions(t, e)
}

// warm makes the client open n connections.
func warm(t *testing.T, c *Client, n int) {
	t.Helper()
	var taken []*conn
	for range n {
		conn, err := c.acquire(context.Background(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, conn)
	}
	for _, conn := range taken {
		c.release(conn)
	}
}

func TestConnectionsAreHandedOutInTheOrderOfAsking(t *testing.T) {
	p := &connPool{max: 1}
	ctx, deadline := context.Background(), time.Now().Add(time.Minute)
	if _, waited, err := p.take(ctx, deadline); waited || err != nil {
		t.Fatal(waited, err)
	}
	const callers = 5
	order := make(chan int, callers)
	for i := range callers {
		go func() {
			p.take(ctx, deadline)
			order <- i
		}()
		await(t, "the caller queues", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.waiters) == i+1 })
	}
	for i := range callers {
		p.give(nil)
		if got := <-order; got != i {
			t.Errorf("caller %d came before %d", got, i)
		}
	}
}

func TestAWaiterThatGaveUpTakesNoConnectionWithIt(t *testing.T) {
	p := &connPool{max: 1}
	deadline := time.Now().Add(time.Minute)
	p.take(context.Background(), deadline)
	for i := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, _, err := p.take(ctx, deadline)
			done <- err
		}()
		await(t, "the caller queues", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.waiters) == 1 })
		go cancel()
		p.give(nil) // hands the place over, or frees it
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		} else if err != nil {
			if _, waited, err := p.take(context.Background(), deadline); waited || err != nil {
				t.Fatalf("round %d: the place is gone: %v, %v", i, waited, err)
			}
		}
		cancel()
	}
}

func TestAWaitEndsWithItsContextItsTimeoutOrTheClient(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 1})
	taken, err := c.acquire(context.Background(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	c.opts.Timeout = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx, small(0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("its context: %v", err)
	}
	if _, err := c.Read(context.Background(), small(0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the default timeout: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if _, err := c.Read(ctx, small(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	long, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	closed := make(chan error)
	go func() {
		_, err := c.Read(long, small(0))
		closed <- err
	}()
	await(t, "the caller queues", func() bool { c.conns.mu.Lock(); defer c.conns.mu.Unlock(); return len(c.conns.waiters) == 1 })
	c.Close()
	if err := <-closed; !errors.Is(err, ErrClosed) {
		t.Errorf("the client: %v", err)
	}
	c.release(taken)
	if s := c.Stats(); s.OpenConns != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAHundredGoroutinesReadWhatTheyAskFor(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{MaxConns: 8, VerifyCRC: true})
	const goroutines, reads = 100, 50
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Add(1)
		go func() {
			defer wg.Done()
			random := rand.New(rand.NewSource(int64(g)))
			for range reads {
				if err := readOne(c, random); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	awaitNoSessions(t, e)
	c.Close()
	if s := c.Stats(); s.Reads != goroutines*reads || s.Completed != s.Reads || s.CompleteErrors+s.CompletesLost+s.Retries != 0 {
		t.Errorf("%+v", s)
	}
}

// readOne reads some needle in some way and checks it.
func readOne(c *Client, random *rand.Rand) error {
	i := random.Intn(smallCount)
	want := smallData(smallNeedles + i)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch random.Intn(3) {
	case 0:
		view, err := c.Read(ctx, small(i))
		if err != nil {
			return err
		}
		if !bytes.Equal(view.Bytes(), want) {
			return fmt.Errorf("the view of needle %d differs", i)
		}
		return view.Close()
	case 1:
		got, err := c.ReadAll(ctx, small(i))
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("the copy of needle %d differs", i)
		}
		return err
	}
	r := small(i)
	r.Offset = uint64(random.Intn(smallBytes))
	p := make([]byte, smallBytes)
	n, err := c.ReadInto(ctx, r, p)
	if err == nil && !bytes.Equal(p[:n], want[r.Offset:]) {
		err = fmt.Errorf("the range of needle %d differs", i)
	}
	return err
}
