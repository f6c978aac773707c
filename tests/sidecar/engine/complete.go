package engine

import (
	"errors"
	"math"
	"sync"
	"time"
)

// The most CompleteReads that travel in one write.
const maxCarried = 64

// completion is a CompleteRead to be sent when there is an occasion.
type completion struct {
	completeRead
	// The run of the engine the session belongs to; only its identity is looked at.
	pool *mapping
	// When the engine will have ended the session by itself.
	deadline time.Time
	queued   time.Time
	// It was sent on a connection that broke before the answer came, so the engine may have
	// taken it already.
	resent bool
}

// completions are the CompleteReads nobody has sent yet, oldest first.
type completions struct {
	mu   sync.Mutex
	list []completion
	// StartReads under way and Views that are open: so many CompleteReads are still to come.
	open int
	// Runs flush when the oldest has waited long enough; armed while it is going to.
	timer *time.Timer
	armed bool
	delay time.Duration
}

func newCompletions(delay time.Duration, flush func()) *completions {
	q := &completions{delay: delay}
	// Stopped before it can run: flush needs what is not made yet, and this goroutine may be kept waiting.
	q.timer = time.AfterFunc(math.MaxInt64, flush)
	q.timer.Stop()
	return q
}

// expect says that there may be a View.
func (q *completions) expect() {
	q.mu.Lock()
	q.open++
	q.mu.Unlock()
}

// finish says that there is none after all, or that it needs no CompleteRead.
func (q *completions) finish() {
	q.mu.Lock()
	q.open--
	q.mu.Unlock()
}

// over reports whether nothing is to be sent and nothing more will come.
func (q *completions) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open == 0 && len(q.list) == 0
}

// add queues the CompleteRead of a View that has been closed.
func (q *completions) add(done completion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	q.push(done)
}

// readd queues CompleteReads once more.
func (q *completions) readd(done []completion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(done...)
}

func (q *completions) push(done ...completion) {
	q.list = append(q.list, done...)
	if len(q.list) > 0 && !q.armed {
		q.armed = true
		q.timer.Reset(q.delay)
	}
}

// take moves CompleteReads for one run of the engine to the end of into.
func (q *completions) take(into []completion, pool *mapping) []completion {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.list[:0]
	for _, done := range q.list {
		if done.pool == pool && len(into) < maxCarried {
			into = append(into, done)
		} else {
			kept = append(kept, done)
		}
	}
	clear(q.list[len(kept):])
	q.list = kept
	return into
}

// drop forgets those of runs of the engine that gone is true for, and returns how many there
// were. It asks gone with the list locked, so that what gone looks at is at least as new as the
// list.
func (q *completions) drop(gone func(*mapping) bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.list)
	kept := q.list[:0]
	for _, done := range q.list {
		if !gone(done.pool) {
			kept = append(kept, done)
		}
	}
	clear(q.list[len(kept):])
	q.list = kept
	return before - len(kept)
}

// due reports whether the oldest has waited its delay. If not, the timer is set for when it
// will have, or left alone where there is none.
func (q *completions) due() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		q.armed = false
		return false
	}
	left := q.delay - time.Since(q.list[0].queued)
	if left <= 0 {
		return true
	}
	q.timer.Reset(left)
	return false
}

// settle counts the outcome of a CompleteRead.
func (c *Client) settle(done completion, err error) {
	if done.resent && (errors.Is(err, SessionNotFound) || errors.Is(err, SessionExpired)) {
		err = nil
	}
	if err == nil {
		c.stats.completed.Add(1)
		return
	}
	c.stats.completeErrors.Add(1)
	if c.opts.OnCompleteError != nil {
		c.opts.OnCompleteError(err)
	}
}

// noView says that the last StartRead made no View, or that its session has ended. Where that
// was all a closed client waited for, flush lets go of the rest.
func (c *Client) noView() {
	c.pending.finish()
	if c.closed.Load() {
		go c.flush()
	}
}

// requeue takes back the CompleteReads a broken connection had no answer to. Each is sent once
// more: should the engine have taken it the first time, it only finds no session.
func (c *Client) requeue(lost []completion) {
	again := lost[:0]
	for _, done := range lost {
		if !done.resent && time.Now().Before(done.deadline) {
			done.resent = true
			again = append(again, done)
		}
	}
	c.stats.completesLost.Add(uint64(len(lost) - len(again)))
	c.pending.readd(again)
}
