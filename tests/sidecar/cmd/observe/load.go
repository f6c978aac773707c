package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// load is the mixed load and the trouble in it.
type load struct {
	stack *stack
	tally *tally
	// How long it takes, the basis of how long each of its parts does.
	lasts time.Duration
	// Clients at work.
	clients []*client
	// What the sessions held on purpose hold: bytes of each, by instance.
	held map[string][]uint64
	// When they all were there for long enough to be seen.
	heldFor window
}

// client is a process that reads.
type client struct {
	task
	instance string
	load     *load
	cmd      *exec.Cmd
	stop     func() error
	says     *gob.Decoder
	errors   *strings.Builder
}

// start starts a client and waits until it is connected.
func (l *load) start(d *daemon, t task) (*client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t.Socket = d.socket
	c := &client{task: t, instance: d.instance, load: l, errors: &strings.Builder{}}
	c.cmd = exec.Command(self, clientArgument)
	c.cmd.Stderr = c.errors
	// A Ctrl-C is for this process.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stop, c.says = in.Close, gob.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	l.clients = append(l.clients, c)
	if err := gob.NewEncoder(in).Encode(t); err != nil {
		return nil, c.broken(err)
	}
	return c, c.hear(connected)
}

// hear waits until the client says that it is so far.
func (c *client) hear(want progress) error {
	var said progress
	if err := c.says.Decode(&said); err != nil || said != want {
		return c.broken(err)
	}
	return nil
}

func (c *client) broken(err error) error {
	c.stop()
	return fmt.Errorf("client %s of %s: %w %v: %s", c.Name, c.instance, err, c.cmd.Wait(), c.errors)
}

// end stops the client and counts what it counted.
func (c *client) end() error {
	if c.cmd.ProcessState != nil {
		return nil
	}
	counted := owned{instance: c.instance, client: c.Name}
	c.stop()
	if err := c.says.Decode(&counted.result); err != nil {
		return c.broken(err)
	}
	c.load.tally.results = append(c.load.tally.results, counted)
	return c.cmd.Wait()
}

// part is one of the parts of the run, one after another.
type part struct {
	name string
	// Its share of the run.
	share float64
	// What goes on besides the mixed load; nil is nothing.
	trouble func(l *load, ctx context.Context, lasts time.Duration) error
}

// The slow part comes first: what burns the latency budget is a share of all reads so far.
var parts = []part{
	{"the target paused again and again while many read from it", 0.1, (*load).pauseTarget},
	{"reads of many sizes", 0.1, nil},
	{"sessions held, almost as many as there may be", 0.1, (*load).holdSessions},
	{"almost all of a pool held", 0.1, (*load).hoardPool},
	{"reads of many sizes", 0.1, nil},
	{"the target stopped", 0.15, (*load).stopTarget},
	{"more readers of large needles than there are cores", 0.1, (*load).crowd},
	{"sessions left until their deadlines", 0.05, (*load).leaveSessions},
	{"reads of many sizes", 0.2, nil},
}

// all returns the clients of each engine that read all the time, and the one that makes each kind of mistake.
func (s *stack) all() map[*daemon][]task {
	return map[*daemon][]task{
		s.local: {
			{Name: "thumbnails", Habit: &habit{2, localVolumes[:1], kib, 64 * kib, time.Millisecond}},
			{Name: "video", Habit: &habit{1, localVolumes[1:], 256 * kib, 4 * mib, 5 * time.Millisecond}},
			{Name: "backup", Habit: &habit{1, localVolumes, kib, 4 * mib, 2 * time.Millisecond}},
			{Name: "careless", Repeat: mistakes(localVolumes[0]), Pause: 2 * thinkAfterError},
		},
		s.remote: {
			{Name: "search", Habit: &habit{2, remoteVolumes[:1], kib, 256 * kib, time.Millisecond}},
			{Name: "backup", Habit: &habit{1, remoteVolumes, kib, 4 * mib, 2 * time.Millisecond}},
			{Name: "careless", Repeat: mistakes(remoteVolumes[0]), Pause: 2 * thinkAfterError},
		},
	}
}

// run drives the load. When it returns, no client is there any more; without an error, all was counted.
func (l *load) run(ctx context.Context, say func(string)) error {
	err := l.runParts(ctx, say)
	for _, c := range l.clients {
		if ctx.Err() != nil {
			c.cmd.Process.Kill()
		}
		err = errors.Join(err, c.end())
	}
	return err
}

func (l *load) runParts(ctx context.Context, say func(string)) error {
	for d, tasks := range l.stack.all() {
		for _, t := range tasks {
			if _, err := l.start(d, t); err != nil {
				return err
			}
		}
	}
	for _, p := range parts {
		lasts := time.Duration(p.share * float64(l.lasts))
		say(fmt.Sprintf("%-58s %3.0f s", p.name, lasts.Seconds()))
		end := time.Now().Add(lasts)
		if p.trouble != nil {
			if err := p.trouble(l, ctx, lasts); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		if err := pause(ctx, time.Until(end)); err != nil {
			return err
		}
	}
	return nil
}
