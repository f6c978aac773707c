package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

// How old a state may be that a read shows: what SeaweedFS has acknowledged this long before must be seen.
const staleAfter = time.Second

// state is what a needle was made to hold, or its deletion.
type state struct {
	// version is 0 for a deletion.
	version uint64
	size    int
	// began is when SeaweedFS was asked, acked when it agreed; zero where it did not, and nobody knows.
	began, acked time.Time
}

// needle is one that was stored, with all that was done to it.
type needle struct {
	seaweed.Needle
	request engine.Request
	text    bool
	// change is held while SeaweedFS is asked to change it: one thing at a time is done to a needle.
	change sync.Mutex

	mu     sync.Mutex
	states []state
}

// begin notes that a change is being asked for; done is called with the outcome.
func (n *needle) begin(version uint64, size int) (done func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.states = append(n.states, state{version: version, size: size, began: time.Now()})
	i := len(n.states) - 1
	return func(err error) {
		if err == nil {
			n.mu.Lock()
			n.states[i].acked = time.Now()
			n.mu.Unlock()
		}
	}
}

// newest is the last state that was asked for.
func (n *needle) newest() state {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.states[len(n.states)-1]
}

// seen is what a read showed: bytes, or that there is no such needle, or that it ends before the offset.
type seen struct {
	began, ended   time.Time
	offset, size   int // size 0 is to the end
	body           []byte
	absent, tooFar bool
}

func (s seen) shows(n *needle, is state) bool {
	if is.version == 0 || s.absent {
		return is.version == 0 && s.absent
	}
	want := content(n.request.Needle, is.version, is.size, n.text)
	if s.tooFar || s.offset >= len(want) {
		return s.tooFar && s.offset >= len(want)
	}
	want = want[s.offset:]
	if s.size != 0 {
		want = want[:min(s.size, len(want))]
	}
	return bytes.Equal(s.body, want)
}

// verdict is what to think of what was seen.
type verdict int

const (
	right verdict = iota
	stale
	missing
	wrong
)

func (v verdict) String() string { return [...]string{"right", "stale", "missing", "wrong"}[v] }

// judge compares what was seen with what was done. age is how long before the read began what it shows had been
// replaced, 0 if it had not.
func (n *needle) judge(s seen) (v verdict, age time.Duration) {
	n.mu.Lock()
	states := append([]state(nil), n.states...)
	n.mu.Unlock()
	must := -1 // the newest state that has to be seen, or a newer one
	for i, is := range states {
		if !is.acked.IsZero() && s.began.Sub(is.acked) > staleAfter {
			must = i
		}
	}
	for i := len(states) - 1; i >= -1; i-- {
		if i >= 0 && (states[i].began.After(s.ended) || !s.shows(n, states[i])) || i < 0 && !s.absent {
			continue
		}
		for _, next := range states[i+1:] {
			if !next.acked.IsZero() && s.began.After(next.acked) {
				age = s.began.Sub(next.acked)
				break
			}
		}
		switch {
		case i >= must:
			return right, age
		case s.absent:
			return missing, age
		default:
			return stale, age
		}
	}
	return wrong, 0
}

// tell is what was seen and all that was done, for a message.
func (n *needle) tell(s seen) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	switch {
	case s.absent:
		b.WriteString("it was not there")
	case s.tooFar:
		fmt.Fprintf(&b, "it ended before byte %d", s.offset)
	case s.offset == 0:
		b.WriteString(describe(s.body, n.text))
	default:
		fmt.Fprintf(&b, "%d bytes from %d on", len(s.body), s.offset)
	}
	fmt.Fprintf(&b, " (%v for the read)", s.ended.Sub(s.began).Round(time.Microsecond))
	for _, is := range n.states[max(0, len(n.states)-6):] {
		what, acked := fmt.Sprintf("version %d of %d bytes", is.version, is.size), "never acknowledged"
		if is.version == 0 {
			what = "deleted"
		}
		if !is.acked.IsZero() {
			acked = fmt.Sprintf("acknowledged %v before the read", s.began.Sub(is.acked).Round(time.Millisecond))
		}
		fmt.Fprintf(&b, "; %s, asked for %v before, %s", what, s.began.Sub(is.began).Round(time.Millisecond), acked)
	}
	return b.String()
}

// oracle knows all needles.
type oracle struct {
	mu   sync.Mutex
	all  []*needle
	live []*needle
	at   map[*needle]int // where in live
	// The needles changed last, in turn.
	recent [256]*needle
	turn   int
}

func newOracle() *oracle { return &oracle{at: map[*needle]int{}} }

// add takes in a needle of which the first state has been begun.
func (o *oracle) add(n *needle) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, n)
}

// changed notes whether n is live now.
func (o *oracle) changed(n *needle, live bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recent[o.turn%len(o.recent)] = n
	o.turn++
	i, was := o.at[n]
	switch {
	case live && !was:
		o.at[n] = len(o.live)
		o.live = append(o.live, n)
	case !live && was:
		last := o.live[len(o.live)-1]
		o.live[i], o.at[last] = last, i
		o.live = o.live[:len(o.live)-1]
		delete(o.at, n)
	}
}

// pick is a needle at random: one changed lately, a live one, or any; nil if there is none.
func (o *oracle) pick() *needle {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) == 0 {
		return nil
	}
	switch dice := rand.IntN(10); {
	case dice < 4 && o.turn > 0:
		return o.recent[rand.IntN(min(o.turn, len(o.recent)))]
	case dice < 9 && len(o.live) > 0:
		return o.live[rand.IntN(len(o.live))]
	}
	return o.all[rand.IntN(len(o.all))]
}

// pickSettled is a live needle that was first stored a while ago; nil if none was found.
func (o *oracle) pickSettled() *needle {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range min(8, len(o.live)) {
		n := o.live[rand.IntN(len(o.live))]
		n.mu.Lock()
		first := n.states[0].acked
		n.mu.Unlock()
		if !first.IsZero() && time.Since(first) > 2*staleAfter {
			return n
		}
	}
	return nil
}

// liveCount is how many needles there are.
func (o *oracle) liveCount() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.live)
}

// everything is all needles there ever were.
func (o *oracle) everything() []*needle {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*needle(nil), o.all...)
}
