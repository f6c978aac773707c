package main

import (
	"math"
	"slices"
	"sort"
)

// exact is the quantile of sorted values: the smallest that a share of at least q does not exceed.
func exact(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// buckets counts sorted values as a Prometheus histogram of these ascending upper bounds does: for each, how many
// do not exceed it.
func buckets(sorted, bounds []float64) []float64 {
	counts := make([]float64, len(bounds))
	for i, bound := range bounds {
		counts[i] = float64(sort.Search(len(sorted), func(n int) bool { return sorted[n] > bound }))
	}
	return counts
}

// interpolated is Prometheus's histogram_quantile of cumulative counts: the values in a bucket are taken to be even
// in it. The last bound is infinite, the first bucket begins at 0.
func interpolated(bounds, counts []float64, q float64) float64 {
	total := counts[len(counts)-1]
	if total == 0 {
		return math.NaN()
	}
	rank := q * total
	i, _ := slices.BinarySearch(counts, rank)
	if i >= len(bounds)-1 {
		return bounds[len(bounds)-2]
	}
	low, before := 0.0, 0.0
	if i > 0 {
		low, before = bounds[i-1], counts[i-1]
	}
	return low + (bounds[i]-low)*(rank-before)/(counts[i]-before)
}
