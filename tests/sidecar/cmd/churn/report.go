package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// report prints what was counted, and fails if any of it must not be.
func (c *churn) report(took time.Duration, before map[string]int) error {
	compacted, volumes := 0, 0
	for path, revision := range c.compactions() {
		if revision > before[path] {
			volumes++
			compacted += revision - before[path]
		}
	}
	w := c.changer
	fmt.Printf("in %v: %d stored, %d overwritten, %d deleted, %d changes refused by SeaweedFS; %d vacuums asked for, which compacted %d volumes %d times\n",
		took.Round(time.Second), w.stored.Load(), w.overwritten.Load(), w.deleted.Load(), w.refused.Load(), w.vacuums.Load(), volumes, compacted)
	var failure error
	check := func(bad bool, format string, arguments ...any) {
		if bad {
			failure = errors.Join(failure, fmt.Errorf(format, arguments...))
		}
	}
	check(compacted == 0, "no volume was compacted, so nothing was tried")
	fmt.Printf("  %-22s %9s %8s %8s %6s %6s %8s %7s   %s\n", "read through", "reads", "MB", "absent", "wrong", "stale", "missing", "failed", "oldest state seen")
	for _, r := range c.readers {
		fmt.Printf("  %-22s %9d %8.0f %8d %6d %6d %8d %7d   %d ms after it was replaced\n", r.name, r.reads.Load(), float64(r.bytes.Load())/1e6, r.absent.Load(),
			r.verdicts[wrong].Load(), r.verdicts[stale].Load(), r.verdicts[missing].Load(), r.failed.Load(), time.Duration(r.oldest.Load()).Milliseconds())
	}
	for _, r := range c.readers {
		fmt.Printf("  %s: errors that went away: %s\n", r.name, r.transientText())
		for _, told := range r.told {
			fmt.Println("   ", told)
		}
		bad := r.failed.Load()
		for _, v := range []verdict{stale, missing, wrong} {
			bad += r.verdicts[v].Load()
		}
		check(bad > 0, "%s: %d reads were wrong, stale, missing or failed", r.name, bad)
		check(r.verdicts[right].Load() == 0, "%s: nothing was read", r.name)
		if odd := r.weedOdd.Load(); odd > 0 { // SeaweedFS's HTTP is the measure
			fmt.Printf("  %s: %d answers were not what SeaweedFS had agreed to, but those of its own HTTP were not either\n", r.name, odd)
		}
		check(float64(r.transients()) > transientMax*float64(r.reads.Load()), "%s: %d errors went away, which is too many for %d reads",
			r.name, r.transients(), r.reads.Load())
		check(r.client.Close() != nil, "%s: the client did not close", r.name)
	}
	for _, p := range c.processes {
		leaked, why := p.rest(context.Background())
		failure = errors.Join(failure, why)
		kib, err := p.ownKiB()
		check(err != nil, "%s: %w", p.name, err)
		check(kib > p.early+growthMaxKiB, "%s: its memory grew from %d KiB after a third of the run to %d", p.name, p.early, kib)
		volumes, _, others, _ := p.descriptors()
		fmt.Printf("  %s: leaked %d; %d descriptors of volumes and %d others (%d at the start); deleted files held for up to %d ms; memory of its own %d MiB after a third, %d at the end\n",
			p.name, leaked, volumes, others, p.others, p.heldLongest.Milliseconds(), p.early>>10, kib>>10)
	}
	return failure
}
