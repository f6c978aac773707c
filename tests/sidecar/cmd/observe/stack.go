package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/enginetest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	// Of each daemon's pool.
	poolBytes = 64 * mib
	// Of each engine. Few, so that a client can come near it.
	maxSessions = 64
	// Needles of a volume, their sizes even on a logarithmic scale.
	needles     = 60
	sizeMin     = kib
	sizeMax     = 4 * mib
	damagedSize = 64 * kib
	cookie      = 0x5eaf00d
	// The id of a needle whose stored checksum is wrong, and of one larger than the others.
	damaged, large = needles + 1, needles + 2
	largeSize      = 15 * mib
	// An id that no needle has.
	nowhere = needles + 3
)

// Volumes of the engine's own host and of the target's.
var (
	localVolumes  = []uint32{1, 2}
	remoteVolumes = []uint32{11, 12}
)

// daemon is an engine or the target, and the label Prometheus has it under.
type daemon struct {
	process
	instance string
	socket   string
}

// stack is everything that runs: an engine with volumes of its own, one that reads a target's over TCP, the target,
// and a Prometheus that scrapes the three.
type stack struct {
	dir        string
	local      *daemon
	remote     *daemon
	target     *daemon
	server     *process
	prometheus *prometheus
}

// newStack writes the volumes and the configuration into dir, and starts nothing.
func newStack(dir string, keep bool) (*stack, error) {
	binary, err := enginetest.FindBinary()
	if err != nil {
		return nil, err
	}
	server, err := program("PROMETHEUS_BIN", "prometheus")
	if err != nil {
		return nil, err
	}
	ports := freePorts(5)
	s := &stack{dir: dir, prometheus: &prometheus{url: "http://" + ports[4]}}
	for name, volumes := range map[string][]uint32{"local": localVolumes, "remote": remoteVolumes} {
		if err := writeVolumes(filepath.Join(dir, name), volumes); err != nil {
			return nil, err
		}
	}
	common := []string{"--device", "none", "--buffer-size", fmt.Sprint(poolBytes), "--hugepages", "never", "--workers", "2"}
	daemonAt := func(name, instance, command string, args ...string) *daemon {
		args = append(append([]string{binary, command, "--metrics-listen", instance}, common...), args...)
		return &daemon{instance: instance, process: process{name: name, args: args, keep: keep,
			log: filepath.Join(dir, name+".log"), ready: "http://" + instance + "/readyz"}}
	}
	engineAt := func(name, instance string, args ...string) *daemon {
		socket := filepath.Join(dir, name+".sock")
		args = append(args, "--ipc-socket", socket, "--max-sessions", fmt.Sprint(maxSessions))
		d := daemonAt(name, instance, "server", args...)
		d.socket = socket
		return d
	}
	s.local = engineAt("engine-local", ports[0], "--volumes", filepath.Join(dir, "local"))
	s.remote = engineAt("engine-remote", ports[1], "--peer", "node1="+ports[3])
	s.target = daemonAt("target", ports[2], "target", "--volumes", filepath.Join(dir, "remote"), "--listen", ports[3])
	config := filepath.Join(dir, "prometheus")
	if err := writeConfig(config, map[string][]string{"9464": {ports[0], ports[1]}, "9465": {ports[2]}, "9090": {ports[4]}}); err != nil {
		return nil, err
	}
	s.server = &process{name: "prometheus", keep: keep, log: filepath.Join(dir, "prometheus.log"),
		ready: s.prometheus.url + "/-/ready",
		args: []string{server, "--config.file", filepath.Join(config, "prometheus.yml"), "--storage.tsdb.path",
			filepath.Join(config, "data"), "--web.listen-address", ports[4], "--log.level", "warn"}}
	return s, nil
}

// daemons are what Prometheus scrapes.
func (s *stack) daemons() []*daemon { return []*daemon{s.target, s.local, s.remote} }

// engines are those that serve clients.
func (s *stack) engines() []*daemon { return []*daemon{s.local, s.remote} }

// processes are all, in the order they start in.
func (s *stack) processes() []*process {
	return []*process{s.server, &s.target.process, &s.local.process, &s.remote.process}
}

// start starts all of them, and returns when Prometheus began to find no daemon.
func (s *stack) start(ctx context.Context) (begun time.Time, err error) {
	if err = s.server.start(ctx); err != nil {
		return begun, err
	}
	begun = time.Now()
	for found := 0.0; found < float64(len(s.daemons())); {
		if time.Since(begun) > startLimit {
			return begun, fmt.Errorf("after %v Prometheus finds %v daemons down, not %d: see %s", startLimit, found,
				len(s.daemons()), filepath.Join(s.dir, "prometheus"))
		}
		if err := pause(ctx, pollEvery); err != nil {
			return begun, err
		}
		if found, err = s.prometheus.value(ctx, "count(count_over_time(up[1m]) > 1 and up == 0)", time.Now()); err != nil {
			return begun, err
		}
	}
	for _, d := range s.daemons() {
		if err := d.start(ctx); err != nil {
			return begun, err
		}
	}
	return begun, nil
}

// stop ends what runs, the last started first.
func (s *stack) stop() error {
	var all error
	processes := s.processes()
	for i := len(processes) - 1; i >= 0; i-- {
		all = errors.Join(all, processes[i].stop())
	}
	return all
}

// writeStop leaves a script that stops what runs and removes the folder, for whoever does so later. A process that
// has ended has no executable, even before it is waited for.
func (s *stack) writeStop() (string, error) {
	var pids []string
	for _, p := range s.processes() {
		pids = append(pids, fmt.Sprint(p.cmd.Process.Pid))
	}
	script := fmt.Sprintf(`#!/bin/sh
kill %[1]s
for pid in %[1]s; do while [ -e /proc/$pid/exe ]; do sleep 0.1; done; done
rm -r %[2]s
`, strings.Join(pids, " "), s.dir)
	path := filepath.Join(s.dir, "stop")
	return path, os.WriteFile(path, []byte(script), 0o700)
}

// writeVolumes writes volumes of random needles, one of each damaged.
func writeVolumes(dir string, volumes []uint32) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, id := range volumes {
		volume := enginetest.NewVolume()
		for n := uint64(1); n <= needles; n++ {
			size := sizeOf(n)
			data := make([]byte, 0, size+8)
			for uint64(len(data)) < size {
				data = binary.LittleEndian.AppendUint64(data, random.Uint64())
			}
			volume.Put(n, cookie, data[:size])
		}
		volume.PutCorrupt(damaged, cookie, make([]byte, damagedSize))
		volume.Put(large, cookie, make([]byte, largeSize))
		if err := volume.Write(dir, "", id); err != nil {
			return err
		}
	}
	return nil
}

// needle is the request for a needle of a volume, from 1 on.
func needle(volume uint32, id uint64) engine.Request {
	return engine.Request{Volume: volume, Needle: id, Cookie: cookie}
}

// sizeOf is the length of needle id, from 1 on.
func sizeOf(id uint64) uint64 {
	return uint64(math.Round(sizeMin * math.Pow(sizeMax/sizeMin, float64(id-1)/(needles-1))))
}
