package main

import (
	"testing"
	"time"

	"rdma-engine/sidecar/engine"
)

// A needle that was stored 9 s ago, overwritten 6 s ago, deleted 3 s ago and stored again 0.5 s ago.
func TestAReadIsJudgedByWhatWasAcknowledgedASecondBefore(t *testing.T) {
	now := time.Now()
	at := func(seconds float64) time.Time { return now.Add(-time.Duration(seconds * float64(time.Second))) }
	n := &needle{request: engine.Request{Needle: 7}}
	for _, s := range []struct {
		version uint64
		ago     float64
	}{{1, 9}, {2, 6}, {0, 3}, {4, 0.5}} {
		n.states = append(n.states, state{s.version, 1000, at(s.ago + 0.1), at(s.ago)})
	}
	holding := func(version uint64) []byte { return content(7, version, 1000, false) }
	for name, c := range map[string]struct {
		began float64
		body  []byte // nil is absent
		want  verdict
		age   time.Duration
	}{
		"the newest version":                        {0, holding(4), right, 0},
		"a deletion replaced half a second before":  {0, nil, right, 500 * time.Millisecond},
		"a version deleted three seconds before":    {0, holding(2), stale, 3 * time.Second},
		"a version deleted half a second before":    {2.5, holding(2), right, 500 * time.Millisecond},
		"a version overwritten two seconds before":  {4, holding(1), stale, 2 * time.Second},
		"nothing, three seconds after it was there": {6.05 - 3, nil, right, 0}, // the deletion had been asked for
		"nothing, while it was there":               {4, nil, missing, 0},
		"a version of nobody's":                     {0, holding(3), wrong, 0},
		"a version that was asked for only later":   {5, holding(4), wrong, 0},
		"a byte that is another":                    {0, append([]byte{1}, holding(4)[1:]...), wrong, 0},
	} {
		s := seen{began: at(c.began), ended: at(c.began - 0.01), body: c.body, absent: c.body == nil}
		got, age := n.judge(s)
		if got != c.want || (c.want == right || c.want == stale) && age.Round(10*time.Millisecond) != c.age {
			t.Errorf("%s: %v, %v old; want %v, %v", name, got, age, c.want, c.age)
		}
	}
}

func TestARangeIsJudgedByItsBytes(t *testing.T) {
	n := &needle{request: engine.Request{Needle: 9}, text: true, states: []state{{1, 500, time.Now(), time.Now()}}}
	body := content(9, 1, 500, true)[100:300]
	s := seen{began: time.Now(), ended: time.Now().Add(time.Millisecond), offset: 100, size: 200, body: body}
	if v, _ := n.judge(s); v != right {
		t.Errorf("the right bytes are %v", v)
	}
	s.body = body[1:]
	if v, _ := n.judge(s); v != wrong {
		t.Errorf("one byte too few is %v", v)
	}
}
