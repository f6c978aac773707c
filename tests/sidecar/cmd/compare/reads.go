package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/measure"
	"rdma-engine/sidecar/internal/seaweed"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	// connsMany is how many connections the rows with several have.
	connsMany = 16
	// setBytes is how much is stored of each size, so that not one needle stays in the CPU's cache; of small
	// ones no more than needlesMax.
	setBytes   = 64 * mib
	needlesMax = 256
)

// needle is one stored blob under both its names.
type needle struct {
	stored  seaweed.Needle
	request engine.Request
}

// needles stores random, so incompressible, blobs of one size.
func (b *bench) needles(ctx context.Context, size int) ([]needle, error) {
	all := make([]needle, min(setBytes/size, needlesMax))
	data := make([]byte, 0, size)
	for i := range all {
		numbers := rand.NewPCG(uint64(size), uint64(i))
		for data = data[:0]; len(data) < size; {
			data = binary.LittleEndian.AppendUint64(data, numbers.Uint64())
		}
		stored, err := b.weed.Store(ctx, seaweed.File{Name: "data.bin", MIME: "application/octet-stream", Data: data})
		if err != nil {
			return nil, err
		}
		request, err := engine.ParseFileID(stored.ID)
		if err != nil {
			return nil, err
		}
		all[i] = needle{stored: stored, request: request}
	}
	return all, nil
}

// readRow measures reads of one size over HTTP and through the engine. Over HTTP the bytes end in a buffer that is
// used again, so every byte has been copied to where the client wants it; through the engine they stay where they
// landed, and the client reads every one of them there.
func (b *bench) readRow(ctx context.Context, size, connections int) (row, error) {
	set, err := b.needles(ctx, size)
	if err != nil {
		return row{}, err
	}
	buffers := make([][]byte, connections)
	for i := range buffers {
		buffers[i] = make([]byte, size)
	}
	// Every worker goes through all needles, each beginning at another one.
	pick := func(worker, call int) needle { return set[(worker*len(set)/connections+call)%len(set)] }
	results, err := measure.Run(b.plan(connections),
		measure.Side{Name: "SeaweedFS HTTP", Op: func(worker, call int) error {
			return b.weed.ReadInto(ctx, pick(worker, call).stored, buffers[worker])
		}},
		measure.Side{Name: "engine", Op: func(worker, call int) error {
			view, err := b.engine.Read(ctx, pick(worker, call).request)
			if err != nil {
				return err
			}
			if view.Len() != size {
				return fmt.Errorf("%d bytes instead of %d", view.Len(), size)
			}
			measure.Touch(view.Bytes())
			return view.Close()
		}})
	return row{What: sizeText(size), Bytes: size, Connections: connections, Sides: results}, err
}

// latency measures a ping and reads on one connection.
func (b *bench) latency(ctx context.Context) error {
	ping, err := b.pingRow(ctx)
	if err != nil {
		return err
	}
	b.add(ping, printPing)
	fmt.Printf("\nOne read after the other on one connection, median time in us of %d rounds (lowest to highest)\n", b.rounds)
	fmt.Printf("  %-8s %-28s %-28s %s\n", "", "SeaweedFS HTTP", "engine", "engine ÷ HTTP")
	for _, size := range sizes {
		r, err := b.readRow(ctx, size, 1)
		if err != nil {
			return err
		}
		if size == 4*kib {
			ratio := r.Sides[1].LatencyMicros.Median / r.Sides[0].LatencyMicros.Median
			r.targets = []target{{what: "4 KiB read ÷ HTTP, median time, 1 connection", ratio: ratio, limit: 1. / 3, atMost: true}}
		}
		b.add(r, printLatency)
	}
	return nil
}

// throughput measures reads on one connection and on several.
func (b *bench) throughput(ctx context.Context) error {
	fmt.Printf("\nReads a second, median of %d rounds (lowest to highest), and GB/s\n", b.rounds)
	fmt.Printf("  %-8s %-5s %-36s %-36s %s\n", "", "conns", "SeaweedFS HTTP", "engine", "engine ÷ HTTP")
	for _, size := range sizes {
		for _, connections := range []int{1, connsMany} {
			r, err := b.readRow(ctx, size, connections)
			if err != nil {
				return err
			}
			ratio := r.Sides[1].PerSecond.Median / r.Sides[0].PerSecond.Median
			if size == 4*kib && connections == connsMany {
				r.targets = []target{{what: "4 KiB reads a second ÷ HTTP, 16 connections", ratio: ratio, limit: 3}}
			}
			if size == 4*mib {
				what := fmt.Sprintf("4 MiB bytes a second ÷ HTTP, connections: %d", connections)
				r.targets = []target{{what: what, ratio: ratio, limit: 2}}
			}
			b.add(r, printThroughput)
		}
	}
	return nil
}

var sizes = []int{4 * kib, 64 * kib, mib, 4 * mib}

func sizeText(size int) string {
	if size >= mib {
		return fmt.Sprintf("%d MiB", size/mib)
	}
	return fmt.Sprintf("%d KiB", size/kib)
}
