package main

import (
	"math"
	"slices"
	"strings"
	"time"
)

// tally is what all clients counted.
type tally struct {
	results []owned
	// When the target was started again, and what it counts began anew.
	restarted time.Time
}

// owned is what one client counted.
type owned struct {
	result
	instance, client string
}

// sumBy sums value over all reads, by what key makes of where they came from and how.
func (t *tally) sumBy(key func(owned, sample) string, value func(sample) float64) map[string]float64 {
	sums := map[string]float64{}
	for _, from := range t.results {
		for _, s := range from.Reads {
			sums[key(from, s)] += value(s)
		}
	}
	return sums
}

func one(sample) float64     { return 1 }
func bytes(s sample) float64 { return float64(s.Bytes) }

// errorsBy sums the errors by what key makes of where they came from and their code.
func (t *tally) errorsBy(key func(from owned, code string) string) map[string]float64 {
	sums := map[string]float64{}
	for _, from := range t.results {
		for code, count := range from.Errors {
			sums[key(from, strings.ToLower(string(code)))] += float64(count)
		}
	}
	return sums
}

// of are the values of one engine's reads.
func (t *tally) of(instance string, value func(sample) float64) []float64 {
	var all []float64
	for _, from := range t.results {
		if from.instance != instance {
			continue
		}
		for _, s := range from.Reads {
			all = append(all, value(s))
		}
	}
	return all
}

// refused are how long one engine's refused StartReads took.
func (t *tally) refused(instance string) []time.Duration {
	var all []time.Duration
	for _, from := range t.results {
		if from.instance == instance {
			all = append(all, from.Refused...)
		}
	}
	return all
}

// durations are how long one engine's StartReads took, in seconds, from their last byte to the reply. Replies with
// errors do not say so: these took at most as long as the client's stopwatch says; and likely what that has besides
// less, which is the way there and back.
func (t *tally) durations(instance string) values {
	landed := t.of(instance, func(s sample) float64 { return s.Elapsed.Seconds() })
	ways := t.of(instance, func(s sample) float64 { return (s.Stopwatch - s.Elapsed).Seconds() })
	slices.Sort(ways)
	v := values{slices.Clone(landed), slices.Clone(landed), landed}
	for _, refused := range t.refused(instance) {
		stopwatch := refused.Seconds()
		v.sorted = append(v.sorted, math.Max(stopwatch-exact(ways, 0.5), 0))
		v.low, v.high = append(v.low, 0), append(v.high, stopwatch)
	}
	slices.Sort(v.sorted)
	slices.Sort(v.low)
	slices.Sort(v.high)
	return v
}
