package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/measure"
)

// The engine tells clients apart by their processes. So each is one of its own: this program, started with a task on
// its standard input. It says on its standard output how far it is, and in the end what it counted, and stops when
// its standard input ends.

// clientArgument makes this program a client.
const clientArgument = "client"

// task is what one client does. Exactly one of Habit, Repeat and Hold is set.
type task struct {
	Name, Socket string
	// Reads all the time.
	Habit *habit
	// Makes these requests in turn, with a pause after each.
	Repeat []engine.Request
	Pause  time.Duration
	// Reads these and keeps the sessions.
	Hold []engine.Request
}

// habit is how a client reads.
type habit struct {
	Workers int
	Volumes []uint32
	// Sizes of what it reads, and the mean of its pauses between two reads.
	Min, Max uint64
	Think    time.Duration
}

// progress is what a client says.
type progress int

const (
	// It is connected.
	connected progress = iota
	// It has all the sessions it is to hold.
	holding
)

const (
	// The pause after a read that failed.
	thinkAfterError = time.Second
	// Far more than any call takes here: what is given up can not be counted.
	callLimit = time.Minute
)

// reader is a client at work.
type reader struct {
	*engine.Client
	counted *counted
	// Closed when it is to end.
	done chan struct{}
}

// runClient does the task on in and says on out what comes of it.
func runClient(in io.Reader, out io.Writer) error {
	var t task
	if err := gob.NewDecoder(in).Decode(&t); err != nil {
		return err
	}
	say := gob.NewEncoder(out)
	r := &reader{counted: newCounted(), done: make(chan struct{})}
	go func() {
		// The rest is empty; its end is what counts.
		io.Copy(io.Discard, in)
		close(r.done)
	}()
	var err error
	r.Client, err = engine.Open(context.Background(), engine.Options{Socket: t.Socket, ClientID: t.Name,
		MaxConns: 2 * maxSessions, Timeout: callLimit, OnCompleteError: r.counted.refusedCompletion})
	if err != nil {
		return err
	}
	if err := say.Encode(connected); err != nil {
		return err
	}
	switch {
	case t.Habit != nil:
		r.keepOn(*t.Habit)
	case t.Hold != nil:
		err = r.hold(t.Hold, func() error { return say.Encode(holding) })
	default:
		r.repeat(t.Repeat, t.Pause)
	}
	// Closing waits for the replies to the last CompleteReads.
	if err := errors.Join(err, r.Close(), r.counted.broken); err != nil {
		return err
	}
	return say.Encode(r.counted.result())
}

// read reads, and counts what came of it; nil where it was an error.
func (r *reader) read(request engine.Request) *engine.View {
	start := time.Now()
	view, err := r.Read(context.Background(), request)
	stopwatch := time.Since(start)
	if err != nil {
		r.counted.refusedRead(err, stopwatch)
		return nil
	}
	r.counted.landed(request.Volume, view, stopwatch)
	return view
}

// use reads, looks at every byte and gives the buffer back. It reports whether that went well.
func (r *reader) use(request engine.Request) bool {
	view := r.read(request)
	if view == nil {
		return false
	}
	measure.Touch(view.Bytes())
	view.Close()
	return true
}

// wait waits and reports whether to go on after that.
func (r *reader) wait(d time.Duration) bool {
	select {
	case <-r.done:
		return false
	case <-time.After(d):
		return true
	}
}

func (r *reader) keepOn(h habit) {
	var working sync.WaitGroup
	for range h.Workers {
		working.Add(1)
		go func() {
			defer working.Done()
			for think := time.Duration(0); r.wait(think); {
				think = time.Duration(rand.ExpFloat64() * float64(h.Think))
				if !r.use(h.choose()) {
					think = thinkAfterError
				}
			}
		}()
	}
	working.Wait()
}

// choose picks a needle of a habit's sizes; of one in three, only a range. Both are even on a logarithmic scale.
func (h habit) choose() engine.Request {
	volume := h.Volumes[rand.IntN(len(h.Volumes))]
	for {
		id := 1 + rand.Uint64N(needles)
		size := sizeOf(id)
		if size < h.Min || size > h.Max {
			continue
		}
		request := needle(volume, id)
		if rand.IntN(3) == 0 {
			request.Size = uint64(float64(h.Min) * math.Pow(float64(size)/float64(h.Min), rand.Float64()))
			request.Offset = rand.Uint64N(size - request.Size + 1)
		}
		return request
	}
}

func (r *reader) repeat(requests []engine.Request, pause time.Duration) {
	for {
		for _, request := range requests {
			r.use(request)
			if !r.wait(pause) {
				return
			}
		}
	}
}

// hold reads all of requests and keeps the sessions until the end.
func (r *reader) hold(requests []engine.Request, held func() error) error {
	for i, request := range requests {
		view := r.read(request)
		// The clients that go on may have taken the place.
		for limit := time.Now().Add(stopLimit); view == nil && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
			view = r.read(request)
		}
		if view == nil {
			return fmt.Errorf("got only %d of %d sessions to hold: %v", i, len(requests), r.counted.errors)
		}
		defer view.Close()
	}
	if err := held(); err != nil {
		return err
	}
	<-r.done
	return nil
}

// clientMain is the whole program where it is a client.
func clientMain() {
	if err := runClient(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
