package main

import (
	"context"
	"syscall"
	"time"

	"rdma-engine/sidecar/engine"
)

const (
	// Sessions held at once on the engine with local volumes: over 90 % of those there may be, with places left for
	// the clients that go on. And on the other engine.
	heldLocal, heldRemote = 60, 3
	// Bytes of the first of them, and how many more each further one has.
	heldBytes, heldStep = 16 * kib, kib
	// Buffers of 1 MiB of the pool of 64 MiB. They find room beside what the clients that go on hold; 15 MiB do not
	// besides them.
	hoarded, hoardedBytes = 50, mib
	// How long the target is paused and runs between, in turns: much less than the second between two scrapes.
	// Those who read then and think for about half as long find it paused nearly always, however fast it is.
	paused, between = 300 * time.Millisecond, 20 * time.Millisecond
	impatient       = 48
	// Readers that come on top for a while, at each engine.
	crowded = 12
	// Sessions at each engine that come to their deadlines.
	expired = 3
)

// mistakes are each kind of mistake a client can make: a damaged needle, one that is not there, a volume that is not,
// a wrong cookie, an offset past the end.
func mistakes(volume uint32) []engine.Request {
	wrongCookie, pastEnd := needle(volume, 1), needle(volume, 1)
	wrongCookie.Cookie++
	pastEnd.Offset = sizeMax
	return []engine.Request{needle(volume, damaged), needle(volume, nowhere), needle(4000, 1), wrongCookie, pastEnd}
}

// holdSessions has clients keep many sessions open, and end them.
func (l *load) holdSessions(ctx context.Context, lasts time.Duration) error {
	var patient []*client
	for _, d := range l.stack.engines() {
		count, volumes := heldLocal, localVolumes
		if d == l.stack.remote {
			count, volumes = heldRemote, remoteVolumes
		}
		requests := make([]engine.Request, count)
		for i := range requests {
			requests[i] = needle(volumes[i%len(volumes)], needles)
			requests[i].Size = heldBytes + uint64(i)*heldStep
			l.held[d.instance] = append(l.held[d.instance], requests[i].Size)
		}
		c, err := l.start(d, task{Name: "patient", Hold: requests})
		if err != nil {
			return err
		}
		if err := c.hear(holding); err != nil {
			return err
		}
		patient = append(patient, c)
	}
	// A session is listed once it is a second old, and scraped within another.
	l.heldFor.from = time.Now().Add(2500 * time.Millisecond)
	err := pause(ctx, max(lasts, 6*time.Second))
	l.heldFor.to = time.Now()
	for _, c := range patient {
		if err == nil {
			err = c.end()
		}
	}
	return err
}

// hoardPool has a client hold so much of a pool that another finds no room.
func (l *load) hoardPool(ctx context.Context, lasts time.Duration) error {
	var requests []engine.Request
	for range hoarded {
		request := needle(localVolumes[1], needles)
		request.Size = hoardedBytes
		requests = append(requests, request)
	}
	hoarder, err := l.start(l.stack.local, task{Name: "hoarder", Hold: requests})
	if err != nil {
		return err
	}
	if err := hoarder.hear(holding); err != nil {
		return err
	}
	request := needle(localVolumes[1], large)
	request.Timeout = time.Second
	waiter, err := l.start(l.stack.local, task{Name: "waiter", Repeat: []engine.Request{request}, Pause: thinkAfterError})
	if err != nil {
		return err
	}
	// Long enough for it to have waited in vain.
	if err := pause(ctx, max(lasts, 5*time.Second)); err != nil {
		return err
	}
	if err := waiter.end(); err != nil {
		return err
	}
	return hoarder.end()
}

// pauseTarget makes the target answer late, as a node does that has too much to do.
func (l *load) pauseTarget(ctx context.Context, lasts time.Duration) error {
	c, err := l.start(l.stack.remote, task{Name: "impatient",
		Habit: &habit{impatient, remoteVolumes, kib, 64 * kib, (paused + between) / 2}})
	if err != nil {
		return err
	}
	target := l.stack.target.cmd.Process
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		if err := target.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := pause(ctx, paused)
		if err := target.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		if err := pause(ctx, between); err != nil {
			return err
		}
	}
	return c.end()
}

// stopTarget stops the target for two thirds of the time and starts it again.
func (l *load) stopTarget(ctx context.Context, lasts time.Duration) error {
	if err := l.stack.target.stop(); err != nil {
		return err
	}
	if err := pause(ctx, lasts*2/3); err != nil {
		return err
	}
	l.tally.restarted = time.Now()
	return l.stack.target.start(ctx)
}

// crowd has many read large needles at once, so that all reads get slow.
func (l *load) crowd(ctx context.Context, lasts time.Duration) error {
	var crowds []*client
	for d, volumes := range map[*daemon][]uint32{l.stack.local: localVolumes, l.stack.remote: remoteVolumes} {
		c, err := l.start(d, task{Name: "crowd", Habit: &habit{crowded, volumes, mib, 4 * mib, 0}})
		if err != nil {
			return err
		}
		crowds = append(crowds, c)
	}
	err := pause(ctx, lasts)
	for _, c := range crowds {
		if err == nil {
			err = c.end()
		}
	}
	return err
}

// leaveSessions has clients keep sessions over their deadlines, so that the engine ends them.
func (l *load) leaveSessions(ctx context.Context, lasts time.Duration) error {
	var forgetful []*client
	for d, volumes := range map[*daemon][]uint32{l.stack.local: localVolumes, l.stack.remote: remoteVolumes} {
		request := needle(volumes[0], 1)
		request.Timeout = time.Second
		c, err := l.start(d, task{Name: "forgetful", Hold: []engine.Request{request, request, request}})
		if err != nil {
			return err
		}
		if err := c.hear(holding); err != nil {
			return err
		}
		forgetful = append(forgetful, c)
	}
	err := pause(ctx, max(lasts, 3*time.Second))
	for _, c := range forgetful {
		if err == nil {
			err = c.end()
		}
	}
	return err
}
