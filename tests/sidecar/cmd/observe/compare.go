package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	// How far a figure of Prometheus's may be from the driver's. Counts have to be equal.
	tolerance = 0.05
	// How much higher the upper bound of a bucket is than its lower one, at most.
	bucketWidth = 0.1
)

// comparison collects the rows of the table of what the driver counted and what Prometheus has.
type comparison struct {
	ctx        context.Context
	prometheus *prometheus
	// When everything was at rest again; before the run, everything was 0.
	at   time.Time
	rows []row
}

type row struct {
	what               string
	driver, prometheus float64
	// What it may differ by, relative to the driver's or absolute.
	allowed  float64
	absolute bool
	// What the driver's figure is between, where it is not known exactly.
	low, high float64
	// What there is to say of it.
	note string
	err  error
}

func (r row) difference() float64 {
	switch {
	case r.driver == r.prometheus:
		return 0
	case r.absolute:
		return r.prometheus - r.driver
	}
	return r.prometheus/r.driver - 1
}

func (r row) good() bool {
	if r.high > 0 && r.low*(1-r.allowed) <= r.prometheus && r.prometheus <= r.high*(1+r.allowed) {
		return r.err == nil
	}
	return r.err == nil && math.Abs(r.difference()) <= r.allowed
}

// share writes a difference, or how much of one is allowed.
func (r row) share(difference float64) string {
	if r.absolute {
		return figure(difference)
	}
	return fmt.Sprintf("%.2f %%", difference*100)
}

// count compares a count, which has to be equal.
func (c *comparison) count(what string, driver float64, expr string) { c.within(0, what, driver, expr) }

func (c *comparison) within(allowed float64, what string, driver float64, expr string) {
	value, err := c.prometheus.value(c.ctx, expr, c.at)
	c.rows = append(c.rows, row{what: what, driver: driver, prometheus: value, allowed: allowed, err: err})
}

// atMost compares with what a quantile can only be below, but for what buckets can not tell.
func (c *comparison) atMost(what string, driver float64, expr string) {
	c.below(bucketWidth, what, driver, expr, "with the way there and back")
}

// below compares with what the value can only be below, but for what is allowed.
func (c *comparison) below(allowed float64, what string, most float64, expr, note string) {
	c.within(allowed, what, most, expr)
	last := &c.rows[len(c.rows)-1]
	if last.prometheus < most {
		last.allowed, last.note = 1, note
	}
}

// counts compares a count for each value of a label: the driver's, and those that only Prometheus has.
func (c *comparison) counts(what string, driver map[string]float64, metric, selector, label string) {
	results, err := c.prometheus.query(c.ctx, fmt.Sprintf("sum by (%s) (%s%s) > 0", label, metric, selector), c.at)
	found := map[string]float64{}
	for _, result := range results {
		found[result.labels[label]] = result.points[0].value
		driver[result.labels[label]] += 0
	}
	for _, name := range sortedKeys(driver) {
		c.rows = append(c.rows, row{what: fmt.Sprintf(what, name), driver: driver[name], prometheus: found[name], err: err})
	}
}

// histogram is a histogram of Prometheus's beside the driver's values of the same thing.
type histogram struct {
	what, metric, selector string
	values
	// Observations that may be in other buckets than the driver's own.
	rough int
}

// values are what the driver counted, in ascending order, and what each is at least and at most, where that is not
// the same; nil where it is.
type values struct{ sorted, low, high []float64 }

func sorted(v []float64) values {
	slices.Sort(v)
	return values{sorted: v}
}

// quantiles compares a histogram's count, its buckets and its quantiles.
//
// The buckets first: each has to have as many observations as the driver's own values put into it, but for the rough
// ones. Between the quantile that Prometheus then interpolates and the exact one is only what buckets can not tell: at
// most their width, just below 10 %, and within the tolerance of 5 % where the values in that one bucket lie all over
// it. Where they do not, as may be with the few that a p99 is among, the driver's own values, put into the same
// buckets, miss their exact quantile as well: then the width is the limit, and the row says so.
func (c *comparison) quantiles(h histogram, quantiles ...float64) {
	found, err := c.prometheus.buckets(c.ctx, h.metric+"_bucket"+h.selector, c.at)
	if err != nil {
		c.rows = append(c.rows, row{what: h.what, err: err})
		return
	}
	bounds := sortedKeys(found)
	own := buckets(h.sorted, bounds)
	misplaced := 0.0
	for i, bound := range bounds {
		misplaced = math.Max(misplaced, math.Abs(own[i]-found[bound]))
	}
	c.rows = append(c.rows, row{what: h.what + ", observations", driver: float64(len(h.sorted)), prometheus: found[math.Inf(1)]},
		row{what: h.what + ", on the wrong side of a bound", prometheus: misplaced, allowed: float64(h.rough), absolute: true})
	for _, q := range quantiles {
		c.quantile(h, q, bounds)
	}
}

func (c *comparison) quantile(h histogram, q float64, bounds []float64) {
	value, err := c.prometheus.value(c.ctx,
		fmt.Sprintf("histogram_quantile(%v, sum by (le) (%s_bucket%s))", q, h.metric, h.selector), c.at)
	c.quantileIs(fmt.Sprintf("%s, p%v", h.what, q*100), h.values, q, bounds, value, err)
}

// quantileIs compares a quantile with the exact one of values.
func (c *comparison) quantileIs(what string, v values, q float64, bounds []float64, value float64, err error) {
	r := row{what: what, driver: exact(v.sorted, q), prometheus: value, allowed: tolerance, err: err}
	// Beginning a little below the tolerance, as what is rough adds to it.
	own := interpolated(bounds, buckets(v.sorted, bounds), q)
	if i, _ := slices.BinarySearch(bounds, r.driver); math.Abs(own/r.driver-1) > 0.8*tolerance && i > 0 && i < len(bounds)-1 {
		r.allowed = bounds[i]/bounds[i-1] - 1
		r.note = "bunched in one bucket: its width is the limit"
	}
	if v.low != nil {
		r.low, r.high = exact(v.low, q), exact(v.high, q)
	}
	c.rows = append(c.rows, r)
}

// print writes the table and returns how many rows are not good.
func (c *comparison) print(w io.Writer) (bad int) {
	const layout = "%-68s %15s %15s %11s  %s\n"
	fmt.Fprintf(w, layout, "", "driver", "Prometheus", "difference", "allowed")
	for _, r := range c.rows {
		verdict := r.note
		if r.allowed > 0 {
			verdict = r.share(r.allowed) + " " + r.note
		}
		if r.high > 0 && math.Abs(r.difference()) > r.allowed {
			verdict = fmt.Sprintf("beyond the driver's %s to %s, %s", figure(r.low), figure(r.high), verdict)
		}
		if !r.good() {
			bad++
			verdict += " WRONG"
		}
		if r.err != nil {
			verdict += ": " + r.err.Error()
		}
		fmt.Fprintf(w, layout, r.what, figure(r.driver), figure(r.prometheus), r.share(r.difference()), verdict)
	}
	return bad
}

// figure writes whole numbers whole and others with six digits.
func figure(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
