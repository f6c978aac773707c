package engine

import "sync/atomic"

// Stats counts what a Client has done since it was opened.
type Stats struct {
	// Reads and BytesRead are the leases the engine granted, and their bytes.
	Reads, BytesRead uint64
	// CompletesCarried are the CompleteReads that travelled with another request,
	// CompletesFlushed those sent by themselves; one sent again is counted again.
	CompletesCarried, CompletesFlushed uint64
	// Completed are the CompleteReads the engine agreed to, CompleteErrors those it did not,
	// CompletesLost those given up because the engine had gone.
	Completed, CompleteErrors, CompletesLost uint64
	// Dials are the connections opened, Retries the requests sent again because the engine had
	// closed an idle connection, Remaps the restarts of the engine noticed.
	Dials, Retries, Remaps uint64
	// Waits are the calls that found all MaxConns connections taken.
	Waits uint64
	// OpenConns and IdleConns are the connections for requests there are now.
	OpenConns, IdleConns int
	// PendingCompletes are the CompleteReads waiting now for a request to travel with.
	PendingCompletes int
}

type counters struct {
	reads, bytesRead                         atomic.Uint64
	completesCarried, completesFlushed       atomic.Uint64
	completed, completeErrors, completesLost atomic.Uint64
	dials, retries, remaps, waits            atomic.Uint64
}

// Stats returns the counts so far.
func (c *Client) Stats() Stats {
	s := Stats{
		Reads:            c.stats.reads.Load(),
		BytesRead:        c.stats.bytesRead.Load(),
		CompletesCarried: c.stats.completesCarried.Load(),
		CompletesFlushed: c.stats.completesFlushed.Load(),
		Completed:        c.stats.completed.Load(),
		CompleteErrors:   c.stats.completeErrors.Load(),
		CompletesLost:    c.stats.completesLost.Load(),
		Dials:            c.stats.dials.Load(),
		Retries:          c.stats.retries.Load(),
		Remaps:           c.stats.remaps.Load(),
		Waits:            c.stats.waits.Load(),
	}
	c.conns.mu.Lock()
	s.OpenConns, s.IdleConns = c.conns.open, len(c.conns.idle)
	c.conns.mu.Unlock()
	c.pending.mu.Lock()
	s.PendingCompletes = len(c.pending.list)
	c.pending.mu.Unlock()
	return s
}
