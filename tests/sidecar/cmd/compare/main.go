// Command compare measures the engine beside what it stands beside: a ping beside bare Unix-socket echo servers, and
// reads beside SeaweedFS's HTTP, with the same Go program as the client of all of them. Everything is measured by
// turns; each figure is the median of the rounds, with its lowest and highest round.
//
// It pins nothing: start it, the engine and SeaweedFS on the CPUs that are meant (benches/compare.sh does).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/measure"
	"rdma-engine/sidecar/internal/seaweed"
)

type options struct {
	master, socket, echo, rows, json string
	rounds                           int
	turn                             time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.master, "master", "http://127.0.0.1:9333", "`URL` of SeaweedFS's master")
	flag.StringVar(&o.socket, "engine", "/tmp/rdma-engine.sock", "the engine's `socket`")
	flag.StringVar(&o.echo, "echo", "", "the echo `program`; needed for latency rows")
	flag.StringVar(&o.rows, "rows", "", "`latency` (ping and reads on one connection, median times) or throughput (reads on 1 and 16)")
	flag.StringVar(&o.json, "json", "", "write the figures to `FILE` too")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each side has its turn")
	flag.DurationVar(&o.turn, "turn", 300*time.Millisecond, "how long a turn lasts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.rounds < 1 || o.turn <= 0 {
		return fmt.Errorf("-rounds %d and -turn %v: both have to be positive", o.rounds, o.turn)
	}
	client, err := engine.Open(ctx, engine.Options{Socket: o.socket, ClientID: "compare", MaxConns: connsMany})
	if err != nil {
		return err
	}
	defer client.Close()
	b := &bench{options: o, engine: client, weed: seaweed.New(o.master, connsMany)}
	switch o.rows {
	case "latency":
		err = b.latency(ctx)
	case "throughput":
		err = b.throughput(ctx)
	default:
		err = fmt.Errorf("-rows %q: latency or throughput", o.rows)
	}
	if err != nil {
		return err
	}
	b.verdicts()
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o644)
}

// row is one thing done in several ways.
type row struct {
	What string `json:"what"`
	// Bytes are what one call moves; 0 for a ping.
	Bytes       int              `json:"bytes"`
	Connections int              `json:"connections"`
	Sides       []measure.Result `json:"sides"`
	targets     []target
}

// target is a promise about a row: its ratio is to be at most, or at least, a limit.
type target struct {
	what   string
	ratio  float64
	limit  float64
	atMost bool
}

type bench struct {
	options
	engine *engine.Client
	weed   *seaweed.Client
	rows   []row
}

func (b *bench) plan(connections int) measure.Plan {
	return measure.Plan{Workers: connections, Rounds: b.rounds, Turn: b.turn}
}

// verdicts says which targets of the rows are met, and by how much the others are missed.
func (b *bench) verdicts() {
	fmt.Println("\nTargets")
	for _, r := range b.rows {
		for _, t := range r.targets {
			sign, met := "at least", t.ratio >= t.limit
			if t.atMost {
				sign, met = "at most", t.ratio <= t.limit
			}
			verdict := "met"
			if !met {
				verdict = fmt.Sprintf("MISSED by %.0f %%", 100*max(t.ratio/t.limit-1, t.limit/t.ratio-1))
			}
			fmt.Printf("  %-62s %s %.2f: %.2f, %s\n", t.what, sign, t.limit, t.ratio, verdict)
		}
	}
}
