package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"rdma-engine/sidecar/internal/metrics"
)

// The least share of what is read of files of many chunks that has to come through an engine.
const leastShare = 0.9

// side is a way to read: a sidecar and the engine behind it.
type side struct {
	what, sidecar, metrics string
}

// arguments are those of a `weed mount` that reads through the side.
func (s *side) arguments() []string {
	return []string{"-rdma.enabled=true", "-rdma.sidecar=" + s.sidecar}
}

// through is how many bytes have come through so far: what the engine has landed, and of that no more than what the
// sidecar has handed to the mount.
func (s *side) through(ctx context.Context) (landed, handed float64, err error) {
	engine, err := metrics.Get(ctx, s.metrics)
	if err != nil {
		return 0, 0, err
	}
	sidecar, err := metrics.Get(ctx, s.sidecar)
	return engine.Sum("rdma_bytes_transferred_total", `direction="read"`),
		sidecar.Sum("sidecar_read_bytes_total", `source="engine"`), err
}

// row is a line of the table: files read in one way through a fresh mount.
type row struct {
	what  string
	files []stored
	read  reading
	// readers is how many read at once, each of them one file after the other from one of its own on.
	readers int
	// share is whether enough has to come through the engine.
	share bool
}

// identical reads all the files in all ways through the side, and prints the table.
func (c *check) identical(ctx context.Context, s *side, all []stored) error {
	fmt.Printf("\nweed mount, %s:\n  %-40s %5s %12s %15s %7s  %s\n", s.what, "case", "files", "bytes read", "through engine", "share", "identical")
	for _, r := range rows(all) {
		landed, handed, err := s.through(ctx)
		if err != nil {
			return err
		}
		var read atomic.Int64
		err = c.mounted(ctx, c.filer, func(dir string) error {
			return inParallel(r.readers, max(r.readers, len(r.files)), func(i int) error {
				n, err := r.read(i, dir, r.files[i%len(r.files)])
				read.Add(n)
				return err
			})
		}, s.arguments()...)
		if err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
		landedThen, handedThen, err := s.through(ctx)
		if err != nil {
			return err
		}
		share, engine := "", min(landedThen-landed, handedThen-handed)
		if total := float64(read.Load()); r.share {
			share = fmt.Sprintf("%.1f %%", 100*engine/total)
			if engine < leastShare*total {
				return fmt.Errorf("%s: only %.0f bytes of %.0f came through the engine", r.what, engine, total)
			}
		}
		fmt.Printf("  %-40s %5d %12d %15.0f %7s  %s\n", r.what, len(r.files), read.Load(), engine, share, "yes")
	}
	return nil
}

func rows(all []stored) []row {
	var one, many, small, readersFiles []stored
	for _, f := range all {
		switch {
		case strings.HasPrefix(f.name, "reader-"):
			readersFiles = append(readersFiles, f)
		case f.chunks > 1 && len(f.data)/f.chunks < mib: // such a read is mostly ends of chunks
			small = append(small, f)
		case f.chunks > 1:
			many = append(many, f)
		default:
			one = append(one, f)
		}
	}
	return []row{
		{"many chunks, in order, 4 KiB at a time", many, sequential(4 * kib), 1, true},
		{"many chunks, in order, 128 KiB", many, sequential(128 * kib), 1, true},
		{"many chunks, in order, 1 MiB", many, sequential(mib), 1, true},
		{"many chunks, 300 random reads each", many, random(300, 64*kib, 0), 1, false},
		{"many chunks, the same past the cache", many, random(300, 64*kib, direct), 1, true},
		{"many small chunks, in order, 4 KiB", small, sequential(4 * kib), 1, false},
		{"many small chunks, 300 random reads each", small, random(300, 64*kib, direct), 1, false},
		{"one chunk or none, in order, 4 KiB", one, sequential(4 * kib), 1, false},
		{"one chunk or none, in order, 1 MiB", one, sequential(mib), 1, false},
		{"one chunk, 300 random reads each", one, random(300, 64*kib, direct), 1, false},
		{"64 readers, a file each", readersFiles, sequential(128 * kib), readers, true},
		{"64 readers, all the same file", many[:1], random(48, 128*kib, direct), readers, true},
	}
}
