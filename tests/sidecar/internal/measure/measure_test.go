package measure

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestEverySideRunsOnEveryWorkerAndIsCounted(t *testing.T) {
	var calls [2]atomic.Int64
	var workers [2][3]atomic.Int64
	side := func(i int) Side {
		return Side{Name: []string{"first", "second"}[i], Op: func(worker, _ int) error {
			calls[i].Add(1)
			workers[i][worker].Add(1)
			return nil
		}}
	}
	results, err := Run(Plan{Workers: 3, Rounds: 3, Turn: time.Millisecond}, side(0), side(1))
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range results {
		if result.Name != []string{"first", "second"}[i] {
			t.Errorf("result %d is %q", i, result.Name)
		}
		// The round that warms up is not measured.
		if made := int(calls[i].Load()); result.Calls >= made || result.Calls < 3*3 {
			t.Errorf("%s: %d calls counted of %d made", result.Name, result.Calls, made)
		}
		if f := result.PerSecond; !(0 < f.Min && f.Min <= f.Median && f.Median <= f.Max) {
			t.Errorf("%s: figures out of order: %+v", result.Name, f)
		}
		for worker := range workers[i] {
			if workers[i][worker].Load() == 0 {
				t.Errorf("%s: worker %d was never called", result.Name, worker)
			}
		}
	}
}

func TestTheFirstErrorEndsTheRunAndNamesItsSide(t *testing.T) {
	refused := errors.New("refused")
	_, err := Run(Plan{Workers: 1, Rounds: 1, Turn: time.Millisecond},
		Side{Name: "good", Op: func(int, int) error { return nil }},
		Side{Name: "bad", Op: func(int, int) error { return refused }})
	if !errors.Is(err, refused) || err.Error() != "bad: refused" {
		t.Errorf("got %v", err)
	}
}

func TestFigureIsTheMedianWithItsSpread(t *testing.T) {
	if got := figure([]float64{5, 1, 9}); got != (Figure{Median: 5, Min: 1, Max: 9}) {
		t.Errorf("got %+v", got)
	}
}

func TestTouchDependsOnEveryByte(t *testing.T) {
	p := make([]byte, 101)
	zero := Touch(p)
	for i := range p {
		p[i] = 1
		if Touch(p) == zero {
			t.Errorf("byte %d was not read", i)
		}
		p[i] = 0
	}
}
