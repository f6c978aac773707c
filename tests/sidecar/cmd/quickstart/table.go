package main

import (
	"context"
	"fmt"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/measure"
)

// table prints what reading costs, one read after the other and 16 at a time, over HTTP and through the engine. It
// is a look, not a judgement: benches/compare.sh measures longer and pins everything to its CPU.
func (c *checker) table(ctx context.Context, stored []storedFile) error {
	const rounds, turn = 5, 200 * time.Millisecond
	fmt.Printf("\nOne needle read again and again: median time of a read and bytes a second (medians of %d turns of %v)\n", rounds, turn)
	fmt.Printf("  %-14s %-8s %-25s %-24s %s\n", "", "readers", "    SeaweedFS HTTP", "    engine", "engine ÷ HTTP")
	for _, s := range stored {
		switch s.what {
		case smallSample, "64 KiB random", "1 MiB random", "4 MiB random":
		default:
			continue
		}
		for _, readers := range []int{1, 16} {
			results, err := measure.Run(measure.Plan{Workers: readers, Rounds: rounds, Turn: turn},
				c.httpSide(ctx, s, readers), c.engineSide(ctx, s))
			if err != nil {
				return err
			}
			http, direct := results[0], results[1]
			fmt.Printf("  %-14s %-8d %s   %s %6.1f\n", s.what, readers, cost(http, len(s.data)), cost(direct, len(s.data)),
				direct.PerSecond.Median/http.PerSecond.Median)
		}
	}
	return nil
}

func cost(r measure.Result, size int) string {
	return fmt.Sprintf("%10.0f us %6.2f GB/s", r.LatencyMicros.Median, r.PerSecond.Median*float64(size)/1e9)
}

// httpSide reads s over HTTP into a buffer that is used again.
func (c *checker) httpSide(ctx context.Context, s storedFile, readers int) measure.Side {
	buffers := make([][]byte, readers)
	for i := range buffers {
		buffers[i] = make([]byte, len(s.data))
	}
	return measure.Side{Name: "SeaweedFS HTTP", Op: func(worker, _ int) error {
		return c.weed.ReadInto(ctx, s.needle, buffers[worker])
	}}
}

// engineSide reads s through the engine and then every byte where it lies.
func (c *checker) engineSide(ctx context.Context, s storedFile) measure.Side {
	return measure.Side{Name: "engine", Op: func(int, int) error { return readInPlace(ctx, c.engine, s.request) }}
}

func readInPlace(ctx context.Context, client *engine.Client, request engine.Request) error {
	view, err := client.Read(ctx, request)
	if err != nil {
		return err
	}
	measure.Touch(view.Bytes())
	return view.Close()
}
