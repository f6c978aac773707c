package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAnExactQuantileIsOneOfTheValues(t *testing.T) {
	values := []float64{1, 2, 3, 4, 100}
	for q, want := range map[float64]float64{0: 1, 0.2: 1, 0.21: 2, 0.5: 3, 0.8: 4, 0.81: 100, 1: 100} {
		if got := exact(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN(exact(nil, 0.5)) {
		t.Error("no values have a quantile")
	}
}

func TestAValueOnABoundIsInItsBucket(t *testing.T) {
	got := buckets([]float64{1, 2, 2, 3}, []float64{1, 2, 2.5, math.Inf(1)})
	if !slices.Equal(got, []float64{1, 3, 3, 4}) {
		t.Error(got)
	}
}

// The expectations are what Prometheus 2.42 answers for these buckets.
func TestInterpolationIsThatOfHistogramQuantile(t *testing.T) {
	bounds, counts := []float64{1, 2, 4, math.Inf(1)}, []float64{0, 10, 30, 40}
	for q, want := range map[float64]float64{0.25: 2, 0.5: 3, 0.125: 1.5, 0.75: 4, 0.9: 4} {
		if got := interpolated(bounds, counts, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestWithBucketsATenthWideAnEvenSpreadIsWithinAPercent(t *testing.T) {
	var bounds, values []float64
	for i := -150; i <= 25; i++ {
		bounds = append(bounds, math.Pow(10, float64(i)/25))
	}
	bounds = append(bounds, math.Inf(1))
	for range 100_000 {
		values = append(values, 1e-5*math.Pow(1000, rand.Float64()))
	}
	slices.Sort(values)
	counts := buckets(values, bounds)
	for _, q := range []float64{0.5, 0.99, 0.999} {
		if want, got := exact(values, q), interpolated(bounds, counts, q); math.Abs(got/want-1) > 0.01 {
			t.Errorf("quantile %v is %v, exactly %v", q, got, want)
		}
	}
}
