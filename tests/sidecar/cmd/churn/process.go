package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rdma-engine/sidecar/internal/metrics"
)

const (
	// How long a process may take at the end to have given everything back.
	restLimit = 10 * time.Second
	// How much more memory of its own a process may have at the end than after a third of the run, in KiB.
	growthMaxKiB = 64 << 10
	pollEvery    = 50 * time.Millisecond
)

// process is an engine or a target that is watched.
type process struct {
	name    string
	pid     int
	metrics string // HOST:PORT
	volumes string

	others         int // descriptors that are not of volumes, at the start
	early, highest int // KiB of memory of its own after a third of the run, and at most
	deletedSince   map[string]time.Time
	heldLongest    time.Duration
}

// descriptors counts what the process has open: files of volumes, those of them that are deleted, and others.
func (p *process) descriptors() (volumes int, deleted []string, others int, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", p.pid)
	list, err := os.ReadDir(dir)
	for _, entry := range list {
		link, err := os.Readlink(filepath.Join(dir, entry.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(link, p.volumes+"/") && strings.HasSuffix(link, " (deleted)"):
			deleted = append(deleted, entry.Name()+" "+link)
		case strings.HasPrefix(link, p.volumes+"/"):
			volumes++
		default:
			others++
		}
	}
	return volumes, deleted, others, err
}

// ownKiB is the memory of the process that is neither a file's nor shared, as the pool is.
func (p *process) ownKiB() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(value, "kB")))
		}
	}
	return 0, fmt.Errorf("process %d has no RssAnon", p.pid)
}

// start notes what it has open before anything is asked of it.
func (p *process) start() (err error) {
	p.deletedSince = map[string]time.Time{}
	_, _, p.others, err = p.descriptors()
	return err
}

// watch looks at it until the context ends.
func (p *process) watch(ctx context.Context, third time.Time) {
	for ctx.Err() == nil {
		if _, deleted, _, err := p.descriptors(); err == nil {
			p.hold(deleted)
		}
		if kib, err := p.ownKiB(); err == nil {
			p.highest = max(p.highest, kib)
			if p.early == 0 && time.Now().After(third) {
				p.early = kib
			}
		}
		time.Sleep(pollEvery)
	}
}

// hold notes for how long deleted files are held open.
func (p *process) hold(deleted []string) {
	now, held := time.Now(), map[string]time.Time{}
	for _, link := range deleted {
		since, known := p.deletedSince[link]
		if !known {
			since = now
		}
		held[link] = since
		p.heldLongest = max(p.heldLongest, now.Sub(since))
	}
	p.deletedSince = held
}

// rest waits until the process has given everything back, and says what it has not: the number of things leaked.
func (p *process) rest(ctx context.Context) (leaked int, why error) {
	for limit := time.Now().Add(restLimit); ; time.Sleep(pollEvery) {
		leaked, why = p.leaked(ctx)
		if why == nil || time.Now().After(limit) {
			return leaked, why
		}
	}
}

func (p *process) leaked(ctx context.Context) (leaked int, why error) {
	note := func(n int, what string) {
		if n > 0 {
			leaked += n
			why = errors.Join(why, fmt.Errorf("%s: %d %s", p.name, n, what))
		}
	}
	page, err := metrics.Get(ctx, p.metrics)
	if err != nil {
		return 1, err
	}
	note(int(page.Sum("rdma_sessions_active")), "sessions are still active")
	note(int(page.Sum("rdma_leases_active")), "leases are still active")
	free := page.Sum("rdma_pool_bytes", `state="free"`)
	if free == 0 {
		return 1, fmt.Errorf("%s: its metrics say nothing of free bytes in the pool", p.name)
	}
	note(int(page.Sum("rdma_pool_bytes")-free), "bytes of the pool are not free")
	volumes, deleted, others, err := p.descriptors()
	if err != nil {
		return 1, err
	}
	note(len(deleted), fmt.Sprintf("deleted files are still open: %v", deleted))
	note(others-p.others, fmt.Sprintf("descriptors more than the %d at the start, which are not of volumes", p.others))
	there, err := filepath.Glob(p.volumes + "/*.dat")
	note(volumes-2*len(there), fmt.Sprintf("descriptors of volumes more than 2 for each of %d", len(there)))
	return leaked, errors.Join(why, err)
}
