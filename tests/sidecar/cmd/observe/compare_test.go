package main

import (
	"errors"
	"math"
	"testing"
)

func TestCountsHaveToBeEqualAndFiguresWithinTheirTolerance(t *testing.T) {
	for _, r := range []struct {
		row  row
		good bool
	}{
		{row{driver: 7, prometheus: 7}, true},
		{row{driver: 7, prometheus: 8}, false},
		{row{driver: 0, prometheus: 1}, false},
		{row{driver: 100, prometheus: 104, allowed: tolerance}, true},
		{row{driver: 100, prometheus: 94, allowed: tolerance}, false},
		{row{driver: 100, prometheus: math.NaN(), allowed: tolerance}, false},
		{row{driver: 0, prometheus: 3, allowed: 3, absolute: true}, true},
		{row{driver: 0, prometheus: 4, allowed: 3, absolute: true}, false},
		{row{driver: 100, prometheus: 84, allowed: tolerance, low: 80, high: 120}, true},
		{row{driver: 100, prometheus: 127, allowed: tolerance, low: 80, high: 120}, false},
		{row{driver: 7, prometheus: 7, err: errors.New("no answer")}, false},
	} {
		if r.row.good() != r.good {
			t.Errorf("%+v", r.row)
		}
	}
}

func TestTheWidthOfABucketIsTheLimitOnlyWhereValuesAreBunchedInIt(t *testing.T) {
	bounds := []float64{1, 1.09, 1.18, math.Inf(1)}
	for _, c := range []struct {
		values  []float64
		allowed float64
	}{
		{[]float64{1.01, 1.03, 1.05, 1.07, 1.08}, tolerance},
		{[]float64{1.001, 1.001, 1.001, 1.001, 1.001}, 0.09},
	} {
		found := comparison{}
		found.quantileIs("", sorted(c.values), 0.9, bounds, 1.08, nil)
		if got := found.rows[0].allowed; math.Abs(got-c.allowed) > 1e-9 {
			t.Errorf("%v: %v", c.values, got)
		}
	}
}
