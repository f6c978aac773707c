package main

import (
	"errors"
	"sync"
	"time"

	"rdma-engine/sidecar/engine"
)

// counted is what one client counted itself, with no help from anything that is exported.
type counted struct {
	mu     sync.Mutex
	reads  []sample
	errors map[engine.Code]int
	// How long the refused StartReads took, as the client saw it.
	refused []time.Duration
	// The first thing that should not have happened.
	broken error
}

// result is the same, for another process.
type result struct {
	Reads   []sample
	Errors  map[engine.Code]int
	Refused []time.Duration
}

// sample is one read that landed: what its reply said of it, and what the client's own clocks did.
type sample struct {
	Transport string
	Volume    uint32
	Bytes     uint64
	// When the reply was there.
	At time.Time
	// From submission to the last completion, from the request's last byte to the reply, and the whole call.
	Completion, Elapsed, Stopwatch time.Duration
}

func newCounted() *counted { return &counted{errors: map[engine.Code]int{}} }

func (c *counted) result() result { return result{c.reads, c.errors, c.refused} }

func (c *counted) landed(volume uint32, view *engine.View, stopwatch time.Duration) {
	s := sample{Transport: view.Transport(), Volume: volume, Bytes: uint64(view.Len()), At: time.Now(),
		Completion: view.CompletionTime(), Elapsed: view.EngineTime(), Stopwatch: stopwatch}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = append(c.reads, s)
}

// refusedRead counts a StartRead that was answered with an error.
func (c *counted) refusedRead(err error, stopwatch time.Duration) {
	c.refusedCompletion(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, stopwatch)
}

// refusedCompletion counts a CompleteRead that was.
func (c *counted) refusedCompletion(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var refused *engine.Error
	if errors.As(err, &refused) {
		c.errors[refused.Code]++
	} else if c.broken == nil {
		c.broken = err
	}
}
