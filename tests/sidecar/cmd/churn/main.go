// Command churn changes a running SeaweedFS while it reads through engines, and checks every byte of every read.
//
// Needles are stored, overwritten and deleted, and volumes compacted, as fast as one server lets a few clients; what was
// done to each needle, when it was asked for and when SeaweedFS agreed is written down. A read has to show what had
// been agreed to a second before it began, or something newer. It exits 1 if any shows anything else, and if an engine or
// a target keeps anything afterwards.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

const (
	changers = 4
	// Readers of each engine.
	readers = 4
	// Errors that go away are at most this share of the reads.
	transientMax = 0.01
)

// churn is one run.
type churn struct {
	duration  time.Duration
	volumes   string
	processes []*process
	readers   []*reader
	changer   *changer
}

func main() {
	c := &churn{}
	var sockets []string
	master := flag.String("master", "http://127.0.0.1:9333", "`URL` of SeaweedFS's master")
	flag.DurationVar(&c.duration, "for", time.Minute, "`time` it lasts")
	flag.StringVar(&c.volumes, "volumes", "", "`directory` of the volumes")
	flag.Func("process", "`NAME,PID,METRICS[,SOCKET]`: an engine or a target, with its HOST:PORT of /metrics; one with a socket is read through",
		func(text string) error {
			fields := strings.Split(text, ",")
			if len(fields) != 3 && len(fields) != 4 {
				return errors.New("three or four things with commas between them are wanted")
			}
			pid, err := strconv.Atoi(fields[1])
			c.processes = append(c.processes, &process{name: fields[0], pid: pid, metrics: fields[2]})
			if len(fields) == 4 {
				c.readers = append(c.readers, &reader{name: fields[0], transient: map[string]int{}})
				sockets = append(sockets, fields[3])
			}
			return err
		})
	flag.Parse()
	if c.volumes == "" || len(c.readers) == 0 {
		fmt.Fprintln(os.Stderr, "churn: -volumes and a -process with a socket are needed")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	weed, known := seaweed.New(*master, 16), newOracle()
	c.changer = &changer{weed: weed, oracle: known}
	err := c.open(ctx, weed, known, sockets)
	if err == nil {
		err = c.run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

// open notes what the processes have, and connects to the engines.
func (c *churn) open(ctx context.Context, weed *seaweed.Client, known *oracle, sockets []string) error {
	for _, p := range c.processes {
		p.volumes = c.volumes
		if err := p.start(); err != nil {
			return err
		}
	}
	for i, r := range c.readers {
		client, err := engine.Open(ctx, engine.Options{Socket: sockets[i], ClientID: "churn", VerifyCRC: true})
		if err != nil {
			return err
		}
		r.client, r.weed, r.oracle = client, weed, known
	}
	return nil
}

func (c *churn) run(ctx context.Context) error {
	begun, before := time.Now(), c.compactions()
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	var changing, reading, watching sync.WaitGroup
	reads, stopReads := context.WithCancel(context.Background())
	defer stopReads()
	watch, stopWatch := context.WithCancel(context.Background())
	defer stopWatch()
	start := func(group *sync.WaitGroup, ctx context.Context, do func(context.Context)) {
		group.Add(1)
		go func() { defer group.Done(); do(ctx) }()
	}
	for range changers {
		start(&changing, ctx, c.changer.run)
	}
	start(&changing, ctx, c.changer.vacuum)
	for _, r := range c.readers {
		for range readers {
			start(&reading, reads, r.run)
		}
	}
	for _, p := range c.processes {
		start(&watching, watch, func(ctx context.Context) { p.watch(ctx, begun.Add(c.duration/3)) })
	}
	changing.Wait()
	time.Sleep(staleAfter + 50*time.Millisecond) // from now on everything has to be seen
	stopReads()
	reading.Wait()
	took := time.Since(begun)
	c.sweep()
	stopWatch()
	watching.Wait()
	return c.report(took, before)
}

// sweep reads every needle there ever was, through every engine.
func (c *churn) sweep() {
	all := c.changer.oracle.everything()
	var group sync.WaitGroup
	for _, r := range c.readers {
		for part := range readers {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := part; i < len(all); i += readers {
					r.read(all[i], false)
				}
			}()
		}
	}
	group.Wait()
}

// compactions is how often each volume has been compacted: the revision in its superblock.
func (c *churn) compactions() map[string]int {
	all := map[string]int{}
	files, _ := filepath.Glob(c.volumes + "/*.dat") // the pattern is a good one
	for _, path := range files {
		var superblock [8]byte
		if f, err := os.Open(path); err == nil {
			if _, err := f.ReadAt(superblock[:], 0); err == nil {
				all[path] = int(binary.BigEndian.Uint16(superblock[4:]))
			}
			f.Close()
		}
	}
	return all
}
