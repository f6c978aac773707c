package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

const (
	// What a reader waits between two reads.
	readPause = time.Millisecond
	// Of each period this part goes without reads of what may be absent: looking for a needle that it does not find
	// makes an engine look at its files again, and it has to notice without that, too.
	period, settledPart = 8 * time.Second, 5 * time.Second
	// How long a read that fails is tried again, and how often.
	retryFor   = time.Second
	retryPause = 10 * time.Millisecond
	// How many of the reads that should not have been are told in full.
	toldMax = 10
)

// reader reads through one engine and judges what comes.
type reader struct {
	name   string
	client *engine.Client
	weed   *seaweed.Client
	oracle *oracle

	reads, bytes, absent   atomic.Int64
	verdicts               [wrong + 1]atomic.Int64
	failed, weedOdd        atomic.Int64
	oldest, slowestRetried atomic.Int64 // nanoseconds

	mu        sync.Mutex
	transient map[string]int // errors that went away, by code
	told      []string
}

// run reads until the context ends.
func (r *reader) run(ctx context.Context) {
	for begun := time.Now(); ctx.Err() == nil; time.Sleep(readPause) {
		pick, settled := r.oracle.pick, time.Since(begun)%period > period-settledPart
		if settled {
			pick = r.oracle.pickSettled
		}
		if n := pick(); n != nil {
			r.read(n, rand.IntN(3) == 0)
		}
		if !settled && rand.IntN(20) == 0 {
			r.readNever()
		}
	}
}

// read reads n, whole or a range of it, and judges.
func (r *reader) read(n *needle, part bool) {
	request := n.request
	if part {
		if size := n.newest().size; size > 0 {
			request.Offset, request.Size = uint64(rand.IntN(size)), uint64(1+rand.IntN(size))
		}
	}
	s, err := r.ask(n, request)
	r.reads.Add(1)
	r.bytes.Add(int64(len(s.body)))
	if err != nil {
		r.failed.Add(1)
		r.tell(fmt.Sprintf("%s: reading %s fails: %v", r.name, n.ID, err))
		return
	}
	if s.absent {
		r.absent.Add(1)
	}
	v, age := n.judge(s)
	raise(&r.oldest, int64(age))
	if v != right && r.sameOverHTTP(n, s) {
		r.weedOdd.Add(1)
		r.tell(fmt.Sprintf("SeaweedFS's HTTP gives a %s answer for %s, too: %s", v, n.ID, n.tell(s)))
		return
	}
	r.verdicts[v].Add(1)
	if v != right {
		r.tell(fmt.Sprintf("%s: %s is %s: %s", r.name, n.ID, v, n.tell(s)))
	}
}

// ask reads through the engine; an error that may go away is tried again.
func (r *reader) ask(n *needle, request engine.Request) (seen, error) {
	first := time.Now()
	codes := map[string]int{}
	for {
		s := seen{began: time.Now(), offset: int(request.Offset), size: int(request.Size)}
		body, err := r.client.ReadAll(context.Background(), request)
		s.ended, s.body = time.Now(), body
		switch {
		case err == nil:
		case errors.Is(err, engine.NeedleNotFound), errors.Is(err, engine.VolumeNotFound):
			s.absent = true
		case errors.Is(err, engine.InvalidRequest) && request.Offset > 0:
			s.tooFar = true
		default:
			codes[code(err)]++
			if time.Since(first) > retryFor {
				return s, fmt.Errorf("for %v: %w", retryFor, err)
			}
			time.Sleep(retryPause)
			continue
		}
		if len(codes) > 0 {
			raise(&r.slowestRetried, int64(time.Since(first)))
			r.mu.Lock()
			for code, times := range codes {
				r.transient[code] += times
			}
			r.mu.Unlock()
		}
		return s, nil
	}
}

// readNever asks for a needle that never was.
func (r *reader) readNever() {
	n := r.oracle.pick()
	if n == nil {
		return
	}
	request := n.request
	request.Needle += 1 << 40
	r.reads.Add(1)
	if body, err := r.client.ReadAll(context.Background(), request); !errors.Is(err, engine.NeedleNotFound) && !errors.Is(err, engine.VolumeNotFound) {
		r.verdicts[wrong].Add(1)
		r.tell(fmt.Sprintf("%s: a needle that never was: %d bytes and %v", r.name, len(body), err))
		return
	}
	r.absent.Add(1)
	r.verdicts[right].Add(1)
}

// sameOverHTTP is whether SeaweedFS itself gives an answer that is not right.
func (r *reader) sameOverHTTP(n *needle, s seen) bool {
	again := seen{began: s.began}
	var err error
	again.body, err = r.weed.Read(context.Background(), n.Needle)
	again.ended = time.Now()
	var notFound *seaweed.NotFoundError
	if again.absent = errors.As(err, &notFound); err != nil && !again.absent {
		return false
	}
	v, _ := n.judge(again)
	return v != right
}

func (r *reader) tell(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) < toldMax {
		r.told = append(r.told, time.Now().Format("15:04:05.000 ")+what)
	}
}

// transientText lists the errors that went away.
func (r *reader) transientText() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for code, times := range r.transient {
		all = append(all, fmt.Sprintf("%s %d times", code, times))
	}
	if len(all) == 0 {
		return "none"
	}
	sort.Strings(all)
	return fmt.Sprintf("%s; a read was answered after %v at most", strings.Join(all, ", "),
		time.Duration(r.slowestRetried.Load()).Round(time.Millisecond))
}

// transients is how many errors went away.
func (r *reader) transients() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, times := range r.transient {
		n += times
	}
	return n
}

// code is the engine's, or what else an error says.
func code(err error) string {
	var refused *engine.Error
	if errors.As(err, &refused) {
		return string(refused.Code)
	}
	return err.Error()
}

// raise makes a maximum of it.
func raise(highest *atomic.Int64, to int64) {
	for {
		is := highest.Load()
		if to <= is || highest.CompareAndSwap(is, to) {
			return
		}
	}
}
