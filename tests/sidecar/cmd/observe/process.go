package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"rdma-engine/sidecar/internal/child"
	"rdma-engine/sidecar/internal/enginetest"
)

const (
	startLimit = 60 * time.Second
	stopLimit  = 20 * time.Second
	pollEvery  = 20 * time.Millisecond
)

// process is a program this one runs, its output in a file.
type process struct {
	name, log string
	args      []string
	// Answers 200 once the program is ready.
	ready string
	// Whether it may outlive this program.
	keep bool
	cmd  *exec.Cmd
	// Closed once it has ended.
	ended chan struct{}
}

// start runs the program and waits until it is ready. It gets a session of its own, as a Ctrl-C is for this
// program, which stops it in order.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = enginetest.Environment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !p.keep {
		// Should this program end without stopping it.
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if p.ended, err = child.Start(p.cmd); err != nil {
		p.cmd = nil
		return err
	}
	return p.waitReady(ctx)
}

func (p *process) waitReady(ctx context.Context) error {
	limit := time.After(startLimit)
	for !answers(ctx, p.ready) {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at start (%v): %v\n%s", p.name, p.cmd.ProcessState, p.args, p.tail())
		case <-limit:
			return fmt.Errorf("%s was not ready within %v: no answer from %s\n%s", p.name, startLimit, p.ready, p.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
	return nil
}

// stop ends it the way an operator does. One that is not running stays so.
func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	// One that was paused could not take the other signal.
	p.cmd.Process.Signal(syscall.SIGCONT)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		p.cmd = nil
		return nil
	case <-time.After(stopLimit):
		p.cmd.Process.Kill()
		<-p.ended
		p.cmd = nil
		return fmt.Errorf("%s did not stop within %v of SIGTERM\n%s", p.name, stopLimit, p.tail())
	}
}

// alive is nil unless it has ended by itself.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended (%v)\n%s", p.name, p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

// tail is the end of its log.
func (p *process) tail() string {
	const most = 2000
	text, _ := os.ReadFile(p.log)
	return string(text[max(len(text)-most, 0):])
}

// local is for the loopback address: no proxy.
var local = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: 60 * time.Second}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := local.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}

// freePorts returns n addresses of the loopback interface whose ports are free, and below those the kernel hands
// to clients, so that they are still free when a daemon comes back to them.
func freePorts(n int) []string {
	var addresses []string
	for len(addresses) < n {
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(22000)))
		if err != nil {
			continue
		}
		defer listener.Close() // only now, so that no two are the same
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// program returns the path of a program: the value of an environment variable, or one that PATH has.
func program(variable, name string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return filepath.Abs(path)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w; config/setup.sh --tests brings it, or set %s to its path", err, variable)
	}
	return path, nil
}
