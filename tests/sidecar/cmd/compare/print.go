package main

import (
	"fmt"

	"rdma-engine/sidecar/internal/measure"
)

// add keeps r and prints it at once: a run takes a while.
func (b *bench) add(r row, print func(row)) {
	b.rows = append(b.rows, r)
	print(r)
}

func printPing(r row) {
	fmt.Printf("\nOne message after the other on one connection, %s, median time in us (lowest to highest round)\n", r.What)
	bare := r.Sides[1].LatencyMicros.Median
	for _, side := range r.Sides {
		f := side.LatencyMicros
		fmt.Printf("  %-24s %-26s %.2f of the tokio-uring echo\n", side.Name, spread(f, "%.1f"), f.Median/bare)
	}
}

func printLatency(r row) {
	http, engine := r.Sides[0].LatencyMicros, r.Sides[1].LatencyMicros
	fmt.Printf("  %-8s %-28s %-28s %.2f\n", r.What, spread(http, "%.1f"), spread(engine, "%.1f"), engine.Median/http.Median)
}

func printThroughput(r row) {
	http, engine := r.Sides[0].PerSecond, r.Sides[1].PerSecond
	cell := func(f measure.Figure) string {
		return fmt.Sprintf("%-24s %6.2f GB/s", spread(f, "%.0f"), f.Median*float64(r.Bytes)/1e9)
	}
	fmt.Printf("  %-8s %-5d %-36s %-36s %.2f\n", r.What, r.Connections, cell(http), cell(engine), engine.Median/http.Median)
}

// spread is a figure with each of its numbers in the given format.
func spread(f measure.Figure, format string) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", f.Median, f.Min, f.Max)
}
