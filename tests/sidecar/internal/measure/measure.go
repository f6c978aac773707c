// Package measure compares ways to do one thing by turns: each round every side runs for the same time, so that
// what changes on the machine meanwhile meets all of them, and each figure is the median of the rounds.
package measure

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Side is one of the ways compared.
type Side struct {
	Name string
	// Op does the thing once. It is called by several goroutines at a time, each with its own worker number
	// from 0 on, and with the number of the call.
	Op func(worker, call int) error
}

// Plan is how long to measure and with how many goroutines.
type Plan struct {
	// Workers is how many goroutines call Op at once.
	Workers int
	// Rounds is how often each side has its turn.
	Rounds int
	// Turn is how long one turn lasts.
	Turn time.Duration
}

// Figure is the median of the rounds, and the lowest and highest round.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Result is what one side did.
type Result struct {
	Name string `json:"name"`
	// LatencyMicros is the median time of one call, in microseconds.
	LatencyMicros Figure `json:"latency_us"`
	// PerSecond is the number of calls a second, of all workers together.
	PerSecond Figure `json:"per_second"`
	// Calls is how many calls were measured.
	Calls int `json:"calls"`
}

// Run measures the sides by turns and returns a Result for each, in their order. The first error ends it.
func Run(plan Plan, sides ...Side) ([]Result, error) {
	results := make([]Result, len(sides))
	latencies := make([][]float64, len(sides))
	rates := make([][]float64, len(sides))
	for round := -1; round < plan.Rounds; round++ {
		for turn := range sides {
			// Another side begins each round, so that none always follows the same one.
			i := (turn + round + 1) % len(sides)
			took, elapsed, err := runTurn(plan, sides[i].Op)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].Name, err)
			}
			if round < 0 {
				continue // the first one warms caches and opens connections
			}
			latencies[i] = append(latencies[i], float64(median(took).Nanoseconds())/1e3)
			rates[i] = append(rates[i], float64(len(took))/elapsed.Seconds())
			results[i].Calls += len(took)
		}
	}
	for i, side := range sides {
		results[i].Name = side.Name
		results[i].LatencyMicros = figure(latencies[i])
		results[i].PerSecond = figure(rates[i])
	}
	return results, nil
}

// runTurn calls op from every worker until the turn is over, at least once each; it returns how long each call
// took, and how long the whole turn did.
func runTurn(plan Plan, op func(worker, call int) error) ([]time.Duration, time.Duration, error) {
	took := make([][]time.Duration, plan.Workers)
	errs := make([]error, plan.Workers)
	for worker := range took {
		took[worker] = make([]time.Duration, 0, 1<<14)
	}
	runtime.GC() // no side pays for the garbage of the one before
	var running sync.WaitGroup
	start := time.Now()
	for worker := range plan.Workers {
		running.Add(1)
		go func() {
			defer running.Done()
			before := start
			for call := 0; call == 0 || before.Sub(start) < plan.Turn; call++ {
				if errs[worker] = op(worker, call); errs[worker] != nil {
					return
				}
				after := time.Now()
				took[worker] = append(took[worker], after.Sub(before))
				before = after
			}
		}()
	}
	running.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return nil, 0, err
		}
	}
	return slices.Concat(took...), elapsed, nil
}

// median sorts d, which must not be empty.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// figure sorts rounds, which must not be empty.
func figure(rounds []float64) Figure {
	slices.Sort(rounds)
	return Figure{Median: rounds[len(rounds)/2], Min: rounds[0], Max: rounds[len(rounds)-1]}
}

// Touch reads every byte of p from memory, as a user of the bytes would, and returns a value that depends on all
// of them.
//
//go:noinline
func Touch(p []byte) (sum uint64) {
	var a, b, c, d uint64
	for len(p) >= 32 {
		a += binary.LittleEndian.Uint64(p[0:8])
		b += binary.LittleEndian.Uint64(p[8:16])
		c += binary.LittleEndian.Uint64(p[16:24])
		d += binary.LittleEndian.Uint64(p[24:32])
		p = p[32:]
	}
	for _, last := range p {
		sum += uint64(last)
	}
	return sum + a + b + c + d
}
