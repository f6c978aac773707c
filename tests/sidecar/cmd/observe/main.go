// Command observe checks what operators are shown: it starts an engine with volumes of its own, an engine that reads
// a target's over TCP, that target, and a real Prometheus with the repository's configuration and rules; it drives
// mixed load with trouble on purpose, and counts for itself; and when all is at rest again it compares what
// Prometheus has with what it counted, and runs every expression of every dashboard, rule and alert.
//
// It exits 1 if a count differs, a quantile is off by more than 5 %, or an expression fails or has no data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/enginetest"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == clientArgument {
		clientMain()
		return
	}
	lasts := flag.Duration("lasts", 120*time.Second, "`time` the load lasts, at least a minute")
	keep := flag.Bool("keep", false, "leave Prometheus and the daemons running")
	pictures := flag.String("pictures", "", "draw the dashboards into `DIR` with grafana/pictures.sh")
	flag.Parse()
	if flag.NArg() > 0 || *lasts < time.Minute {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *lasts, *keep, *pictures); err != nil {
		fmt.Fprintln(os.Stderr, "observe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, lasts time.Duration, keep bool, pictures string) (err error) {
	dir, err := os.MkdirTemp("", "observe")
	if err != nil {
		return err
	}
	s, err := newStack(dir, keep)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	finished := false
	defer func() {
		if !keep || !finished {
			err = errors.Join(err, s.stop(), os.RemoveAll(dir))
		}
	}()
	wrong, w, err := observe(ctx, s, lasts)
	if err != nil {
		return err
	}
	fmt.Printf("\nPrometheus %s, from %d to %d\n", s.prometheus.url, w.from.Unix(), w.to.Unix())
	if pictures != "" {
		if w.to, err = draw(ctx, s, pictures, w); err != nil {
			return err
		}
	}
	if finished = true; keep {
		script, err := s.writeStop()
		if err != nil {
			return err
		}
		fmt.Printf("still running, their files in %s; to stop them and remove those:\n  %s\n", dir, script)
	}
	if wrong > 0 {
		return fmt.Errorf("%d figures or expressions are wrong", wrong)
	}
	return nil
}

// observe runs everything and returns how much was wrong, and when the load ran.
func observe(ctx context.Context, s *stack, lasts time.Duration) (wrong int, w window, err error) {
	begun, err := s.start(ctx)
	if err != nil {
		return 0, w, err
	}
	if w.from, err = s.prometheus.scrapedSince(ctx, len(s.daemons()), time.Now()); err != nil {
		return 0, w, err
	}
	fmt.Printf("load for %v:\n", lasts)
	l := &load{stack: s, tally: &tally{}, lasts: lasts, held: map[string][]uint64{}}
	if err := l.run(ctx, func(part string) { fmt.Println(" ", part) }); err != nil {
		return 0, w, err
	}
	for _, p := range s.processes() {
		if err := p.alive(); err != nil {
			return 0, w, err
		}
	}
	if w.to, err = s.prometheus.scrapedSince(ctx, len(s.daemons()), time.Now()); err != nil {
		return 0, w, err
	}
	fmt.Println("\nwhat the driver counted, and what Prometheus has:")
	c := &comparison{ctx: ctx, prometheus: s.prometheus, at: w.to}
	c.compare(l)
	if err := c.panels(l, w); err != nil {
		return 0, w, err
	}
	wrong = c.print(os.Stdout)

	fmt.Println("\nwhat dashboards, rules and alerts ask:")
	e := &expressions{ctx: ctx, prometheus: s.prometheus, load: w, whole: window{begun, w.to}, out: os.Stdout}
	more, err := e.check()
	return wrong + more, w, err
}

// draw runs the script that draws the dashboards, while there are sessions to be seen, and returns until when they are
// drawn.
func draw(ctx context.Context, s *stack, dir string, w window) (until time.Time, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return w.to, err
	}
	l := &load{stack: s, tally: &tally{}}
	var requests []engine.Request
	for id := uint64(needles / 2); id <= needles; id += 3 {
		requests = append(requests, needle(localVolumes[0], id))
	}
	patient, err := l.start(s.local, task{Name: "patient", Hold: requests})
	if err != nil {
		return w.to, err
	}
	if err := patient.hear(holding); err != nil {
		return w.to, err
	}
	// A second until they are listed, one until they are scraped, and one as the script takes whole seconds.
	if w.to, err = s.prometheus.scrapedSince(ctx, len(s.daemons()), time.Now().Add(3*time.Second)); err == nil {
		script := exec.CommandContext(ctx, filepath.Join(enginetest.Root(), "grafana", "pictures.sh"), s.prometheus.url, dir,
			"--from", fmt.Sprint(w.from.Unix()), "--to", fmt.Sprint(w.to.Unix()))
		script.Stdout, script.Stderr = os.Stdout, os.Stderr
		err = script.Run()
	}
	return w.to, errors.Join(err, patient.end())
}
