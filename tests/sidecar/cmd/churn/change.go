package main

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

const (
	// How many needles there may be before more are deleted than stored.
	liveTarget = 1500
	// What each of those who change needles waits between two changes, and between two vacuums.
	changePause = 5 * time.Millisecond
	vacuumPause = 3 * time.Second
	// A volume with more garbage than this share is compacted.
	garbageThreshold = 0.05
)

// changer stores, overwrites and deletes needles in SeaweedFS.
type changer struct {
	weed    *seaweed.Client
	oracle  *oracle
	version atomic.Uint64

	stored, overwritten, deleted, vacuums, refused atomic.Int64
}

// run makes one change after the other until the context ends.
func (c *changer) run(ctx context.Context) {
	for ctx.Err() == nil {
		more := 40 // percent of the changes that store a new one
		if c.oracle.liveCount() > liveTarget {
			more = 15
		}
		dice := rand.IntN(100)
		n := c.oracle.pick()
		switch {
		case dice < more || n == nil:
			c.store(ctx)
		case dice < more+35:
			c.overwrite(ctx, n)
		default:
			c.delete(ctx, n)
		}
		time.Sleep(changePause)
	}
}

// vacuum has the master compact volumes again and again until the context ends.
func (c *changer) vacuum(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(vacuumPause):
		}
		c.vacuums.Add(1)
		if err := c.weed.Vacuum(ctx, garbageThreshold); err != nil && ctx.Err() == nil {
			c.refused.Add(1)
		}
	}
}

// count counts what SeaweedFS did, or that it did not.
func (c *changer) count(done *atomic.Int64, err error) {
	if err != nil {
		c.refused.Add(1)
		return
	}
	done.Add(1)
}

func (c *changer) store(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // what has begun is finished, so that it is known
	place, err := c.weed.Assign(ctx, seaweed.File{})
	if err != nil {
		c.refused.Add(1)
		return
	}
	request, err := engine.ParseFileID(place.ID)
	if err != nil {
		c.refused.Add(1)
		return
	}
	n := &needle{Needle: place, request: request, text: rand.IntN(4) == 0}
	n.change.Lock()
	defer n.change.Unlock()
	c.put(ctx, n, &c.stored, c.oracle.add)
}

func (c *changer) overwrite(ctx context.Context, n *needle) {
	n.change.Lock()
	defer n.change.Unlock()
	c.put(context.WithoutCancel(ctx), n, &c.overwritten, func(*needle) {})
}

// put stores a new version of n.
func (c *changer) put(ctx context.Context, n *needle, counter *atomic.Int64, begun func(*needle)) {
	version, size := c.version.Add(1), someSize()
	file := seaweed.File{Name: "x.bin", MIME: "application/octet-stream", Data: content(n.request.Needle, version, size, n.text)}
	if n.text {
		file.Name, file.MIME = "x.txt", "text/plain"
	}
	done := n.begin(version, size)
	begun(n)
	err := c.weed.Put(ctx, n.Needle, file)
	done(err)
	c.oracle.changed(n, true)
	c.count(counter, err)
}

func (c *changer) delete(ctx context.Context, n *needle) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.newest().version == 0 {
		return
	}
	done := n.begin(0, 0)
	err := c.weed.Delete(context.WithoutCancel(ctx), n.Needle)
	done(err)
	c.oracle.changed(n, false)
	c.count(&c.deleted, err)
}

// someSize is mostly small, sometimes large.
func someSize() int {
	switch dice := rand.IntN(100); {
	case dice < 80:
		return rand.IntN(16 << 10)
	case dice < 98:
		return rand.IntN(128 << 10)
	default:
		return rand.IntN(1 << 20)
	}
}
