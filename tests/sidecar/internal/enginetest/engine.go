// Package enginetest runs the real engine for tests, on volumes the tests write.
package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/child"
)

const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
	pollEvery  = 5 * time.Millisecond
)

// Engine is a running `rdma-engine server`.
type Engine struct {
	// Socket is the path of its Unix socket.
	Socket string
	// Metrics is the host:port of its HTTP endpoints, another one after each start.
	Metrics string

	args []string
	log  logBuffer
	cmd  *exec.Cmd
	// Closed once the process has ended.
	ended chan struct{}
}

// Run starts an engine that serves the volumes in dir, its socket in a directory of its own, with
// further arguments of `rdma-engine server`. It is ready when Run returns.
func Run(dir string, args ...string) (*Engine, error) {
	binary, err := FindBinary()
	if err != nil {
		return nil, err
	}
	// Not below dir: the path of a socket has to fit into 107 bytes.
	home, err := os.MkdirTemp("", "engine")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(home, "x.sock")
	e := &Engine{Socket: socket}
	e.args = append([]string{binary, "server", "--ipc-socket", socket, "--volumes", dir,
		"--buffer-size", fmt.Sprint(64 << 20), "--metrics-listen", "127.0.0.1:0", "--device", "none"}, args...)
	if err := e.Restart(); err != nil {
		os.RemoveAll(home)
		return nil, err
	}
	return e, nil
}

// Start runs an engine for one test, and stops it when the test ends. The engine's log is shown
// if the test failed.
func Start(t testing.TB, dir string, args ...string) *Engine {
	t.Helper()
	e, err := Run(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the engine's log:\n%s", e.Log())
		}
	})
	return e
}

// Restart starts the engine again after Kill or Stop, with the same arguments.
func (e *Engine) Restart() error {
	logged := len(e.Log())
	e.cmd = exec.Command(e.args[0], e.args[1:]...)
	e.cmd.Stdout, e.cmd.Stderr = &e.log, &e.log
	e.cmd.Env = Environment()
	// Should this process end without stopping the engine, as after a test's timeout, the kernel does.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if e.ended, err = child.Start(e.cmd); err != nil {
		return err
	}
	return e.waitReady(logged)
}

// Environment is this process's without what would configure the engine.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "RDMA_")
	})
}

// listening finds the address of the endpoints in the engine's log.
var listening = regexp.MustCompile(`metrics on http://([0-9.:]+)/metrics`)

// waitReady waits for the engine whose log begins at logged.
func (e *Engine) waitReady(logged int) error {
	limit := time.After(startLimit)
	for {
		if found := listening.FindStringSubmatch(e.Log()[logged:]); found != nil {
			e.Metrics = found[1]
			if e.ready() {
				return nil
			}
		}
		select {
		case <-e.ended:
			return fmt.Errorf("the engine ended at start (%v): %s\n%s", e.cmd.ProcessState, strings.Join(e.args, " "), e.Log())
		case <-limit:
			e.Kill()
			return fmt.Errorf("the engine was not ready within %v\n%s", startLimit, e.Log())
		case <-time.After(pollEvery):
		}
	}
}

func (e *Engine) ready() bool {
	response, err := http.Get("http://" + e.Metrics + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Kill ends the engine with SIGKILL, as a crash would, and waits until it is gone.
func (e *Engine) Kill() {
	e.cmd.Process.Kill()
	<-e.ended
}

// Signal sends the engine a signal. After SIGSTOP it is stopped when this returns.
func (e *Engine) Signal(s os.Signal) error {
	if err := e.cmd.Process.Signal(s); err != nil || s != syscall.SIGSTOP {
		return err
	}
	// The signal is sent at once, but a thread that runs is stopped a little later.
	for until := time.Now().Add(stopLimit); ; time.Sleep(pollEvery) {
		if stopped, err := e.stopped(); stopped || err != nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("process %d did not stop within %v", e.Pid(), stopLimit)
		}
	}
}

// stopped is whether all its threads are stopped.
func (e *Engine) stopped() (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", e.Pid()))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("process %d has no threads: %w", e.Pid(), os.ErrProcessDone)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		// The state follows the name in parentheses, which may hold anything.
		_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		if err != nil || !strings.HasPrefix(state, "T") {
			return false, err
		}
	}
	return true, nil
}

// Pid is the engine's process id.
func (e *Engine) Pid() int { return e.cmd.Process.Pid }

// Stop ends the engine the way an operator does, and removes what it left.
func (e *Engine) Stop() error {
	defer os.RemoveAll(filepath.Dir(e.Socket))
	if err := e.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	select {
	case <-e.ended:
		return nil
	case <-time.After(stopLimit):
		e.Kill()
		return fmt.Errorf("the engine did not stop within %v of SIGTERM", stopLimit)
	}
}

// Log is what the engine has printed so far.
func (e *Engine) Log() string { return e.log.String() }

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Root is the folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..", "..")
}

// FindBinary returns the path of the engine: ENGINE_BIN, or what cargo has built.
func FindBinary() (string, error) {
	if path := os.Getenv("ENGINE_BIN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("ENGINE_BIN: %w", err)
		}
		return filepath.Abs(path)
	}
	for _, profile := range []string{"release", "debug"} {
		path := filepath.Join(Root(), "target", profile, "rdma-engine")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests need the engine: build it with `cargo build --release` in the root of the repository, or set ENGINE_BIN to the path of one")
}
