// Command mountcheck shows on a running SeaweedFS that files read through an unmodified `weed mount` with its RDMA path
// are those that were stored, and how much of them came through an engine; then which files the mount itself reads wrong.
//
// It stores files of many kinds, over the filer's HTTP and through a mount; reads them through mounts that use one
// sidecar after the other, sequentially, at random and with 64 readers at once; and compares every byte. It
// exits 1 where bytes are wrong that the mount asked for right, where too little came through an engine, and where an
// engine gives other bytes than SeaweedFS's HTTP.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"rdma-engine/sidecar/internal/seaweed"
)

// check is what all parts of the program use.
type check struct {
	// work is where the mounts are made.
	work string
	weed *seaweed.Client
	// filer, and one that has the volume servers' data encrypted.
	filer, encrypting *filer
	// sides are the sidecars in front of engines; httpOnly has none.
	sides    []*side
	httpOnly *side
}

// filer is a filer and its address as `weed mount` takes it, HOST:PORT.GRPCPORT.
type filer struct {
	*seaweed.Filer
	address string
}

func newFiler(address string) *filer {
	return &filer{seaweed.NewFiler("http://"+address[:strings.LastIndexByte(address, '.')], 16), address}
}

func main() {
	c := &check{}
	master := flag.String("master", "http://127.0.0.1:9333", "`URL` of SeaweedFS's master")
	plain := flag.String("filer", "127.0.0.1:8888.18888", "the filer, as `HOST:PORT.GRPCPORT`")
	encrypting := flag.String("encrypting-filer", "", "another filer, with -encryptVolumeData, as `HOST:PORT.GRPCPORT`")
	httpOnly := flag.String("http-only", "", "`HOST:PORT` of a sidecar without an engine")
	flag.StringVar(&c.work, "work", "", "empty `directory` for the mounts")
	flag.Func("side", "`WHAT,SIDECAR,METRICS`: a way to read, its sidecar's HOST:PORT and that of its engine's /metrics; may be repeated",
		func(text string) error {
			fields := strings.Split(text, ",")
			if len(fields) != 3 {
				return errors.New("three things with commas between them are wanted")
			}
			c.sides = append(c.sides, &side{what: fields[0], sidecar: fields[1], metrics: fields[2]})
			return nil
		})
	flag.Parse()
	if c.work == "" || *httpOnly == "" || *encrypting == "" || len(c.sides) == 0 {
		fmt.Fprintln(os.Stderr, "mountcheck: -work, -encrypting-filer, -http-only and at least one -side are needed")
		os.Exit(2)
	}
	c.weed, c.filer, c.encrypting = seaweed.New(*master, 16), newFiler(*plain), newFiler(*encrypting)
	c.httpOnly = &side{what: "HTTP only", sidecar: *httpOnly}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mountcheck:", err)
		os.Exit(1)
	}
}

func (c *check) run(ctx context.Context) error {
	fmt.Println("storing files over the filer's HTTP and through a mount")
	stored, weak, err := c.store(ctx)
	if err != nil {
		return fmt.Errorf("storing files: %w", err)
	}
	for _, s := range c.sides {
		if err := c.identical(ctx, s, stored); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return c.weaknesses(ctx, weak)
}

// mounted calls do with a mount of f that was made for it, so that the kernel has cached nothing of it.
func (c *check) mounted(ctx context.Context, f *filer, do func(dir string) error, args ...string) error {
	mount, err := seaweed.StartMount(ctx, c.work+"/mount", f.address, args...)
	if err != nil {
		return err
	}
	err = do(mount.Dir)
	if err != nil {
		err = fmt.Errorf("%w; the end of the mount's log:\n%s", err, mount.Log())
	}
	return errors.Join(err, mount.Stop())
}
