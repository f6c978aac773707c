// Command quickstart shows on a running SeaweedFS and a running engine that both hand out the same bytes.
//
// It stores files of many sizes and kinds in SeaweedFS, reads each back over SeaweedFS's HTTP and through the
// engine, whole and in ranges, and compares every byte with what was stored; then it asks for what must be refused;
// then it prints what the two ways of reading cost. It exits 1 at the first difference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

func main() {
	master := flag.String("master", "http://127.0.0.1:9333", "`URL` of SeaweedFS's master")
	socket := flag.String("engine", "/tmp/rdma-engine.sock", "the engine's `socket`")
	save := flag.String("save", "", "write one file's bytes to `DIR`/text, its id to DIR/text.fid and a small file's id to DIR/small.fid")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *master, *socket, *save); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, master, socket, save string) error {
	client, err := engine.Open(ctx, engine.Options{Socket: socket, ClientID: "quickstart"})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := describe(ctx, client); err != nil {
		return err
	}
	c := &checker{weed: seaweed.New(master, 16), engine: client}
	fmt.Println("\nEvery file is stored in SeaweedFS, read back over its HTTP and through the engine, and compared:")
	stored, err := c.storeAll(ctx, files())
	if err != nil {
		return err
	}
	for _, s := range stored {
		if err := c.compare(ctx, s); err != nil {
			return fmt.Errorf("%s (%s): %w", s.what, s.needle.ID, err)
		}
	}
	if err := c.refusals(ctx, stored[len(stored)-1]); err != nil {
		return err
	}
	if save != "" {
		if err := saveSamples(save, stored); err != nil {
			return err
		}
	}
	fmt.Printf("%d files and %d ranges of them are identical; %d requests that must be refused were.\n",
		c.files, c.ranges, c.refused)
	return c.table(ctx, stored)
}

// describe prints what the engine says it runs on.
func describe(ctx context.Context, client *engine.Client) error {
	is, err := client.Capabilities(ctx)
	if err != nil {
		return err
	}
	registered := "not registered"
	if is.PoolRegistered {
		registered = "registered"
	}
	fmt.Printf("engine %s, transports %v, a pool of %s in pages of %s, %s\n", is.Version, is.Transports,
		bytesText(is.PoolBytes), bytesText(is.PoolPageSize), registered)
	for _, step := range is.StepsDown {
		fmt.Printf("  could be faster: %s\n", step)
	}
	return nil
}

// saveSamples writes the bytes and the file id of the text that SeaweedFS compressed, and the id of the small
// random file.
func saveSamples(dir string, stored []storedFile) error {
	for _, s := range stored {
		var err error
		id := []byte(s.needle.ID + "\n")
		switch s.what {
		case textSample:
			err = errors.Join(os.WriteFile(filepath.Join(dir, "text"), s.data, 0o644),
				os.WriteFile(filepath.Join(dir, "text.fid"), id, 0o644))
		case smallSample:
			err = os.WriteFile(filepath.Join(dir, "small.fid"), id, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bytesText is n in the largest unit that divides it.
func bytesText(n uint64) string {
	for _, unit := range []struct {
		bytes uint64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.bytes && n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
