package enginetest

import (
	"context"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/metrics"
)

// Metric returns the sum of the engine's metric of this name over all series whose labels contain
// every one of with, like `type="read"`. A series that does not exist counts as 0.
func (e *Engine) Metric(t testing.TB, name string, with ...string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	page, err := metrics.Get(ctx, e.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	return page.Sum(name, with...)
}
