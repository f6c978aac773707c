// Package child starts processes that may be told to end with this one.
package child

import (
	"os/exec"
	"runtime"
)

// Start starts a command, and closes the channel once it has ended. For its Pdeathsig the kernel goes by the thread
// that started it, which therefore has to stay.
func Start(cmd *exec.Cmd) (ended chan struct{}, err error) {
	ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its ProcessState
			close(ended)
		}
	}()
	return ended, <-started
}
