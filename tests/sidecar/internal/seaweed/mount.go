package seaweed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"rdma-engine/sidecar/internal/child"
)

const (
	// How long a mount may take to appear, and its process to end after it has been taken away.
	mountLimit   = 30 * time.Second
	unmountLimit = 20 * time.Second
)

// Mount is a running `weed mount`.
type Mount struct {
	// Dir is where it is mounted.
	Dir   string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartMount mounts a filer (HOST:PORT.GRPCPORT) at the empty directory dir, with further arguments of `weed mount`,
// which writes its caches and its log beside dir. Files can be read when StartMount returns.
func StartMount(ctx context.Context, dir, filer string, args ...string) (*Mount, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m := &Mount{Dir: dir, log: dir + ".log"}
	log, err := os.Create(m.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// No cache of chunks: what is read is to be read again. (The kernel's goes with each mount.) Others are not
	// allowed in because that would take root, or a line in fuse.conf.
	args = append([]string{"mount", "-filer=" + filer, "-dir=" + dir, "-cacheCapacityMB=0", "-cacheDir=" + dir + ".cache",
		"-localSocket=" + dir + ".sock", "-allowOthers=false"}, args...)
	m.cmd = exec.Command("weed", args...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// Should this process end without unmounting, the kernel ends the mount's, and with it the mount.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if m.ended, err = child.Start(m.cmd); err != nil {
		return nil, err
	}
	if err := m.wait(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("weed mount: %w; the end of its log:\n%s", err, m.Log()), m.Stop())
	}
	return m, nil
}

// Log is the end of what the process has printed.
func (m *Mount) Log() string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (m *Mount) wait(ctx context.Context) error {
	limit := time.After(mountLimit)
	for {
		if mounted, err := m.mounted(); mounted || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ended:
			return fmt.Errorf("it ended (%v)", m.cmd.ProcessState)
		case <-limit:
			return fmt.Errorf("%s was not mounted within %v", m.Dir, mountLimit)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// mounted looks in the kernel's list, as a mount whose process hangs answers nobody.
func (m *Mount) mounted() (bool, error) {
	list, err := os.ReadFile("/proc/self/mountinfo")
	return bytes.Contains(list, []byte(" "+m.Dir+" ")), err
}

// Stop unmounts and waits for the process to end; if it does not, it is killed and the mount taken away.
func (m *Mount) Stop() error {
	var unmounting error
	if mounted, err := m.mounted(); mounted || err != nil {
		unmounting = fusermount("-u", m.Dir)
	}
	if unmounting == nil {
		select {
		case <-m.ended:
			return nil
		case <-time.After(unmountLimit):
			unmounting = fmt.Errorf("the weed mount of %s did not end within %v of being unmounted", m.Dir, unmountLimit)
		}
	}
	_ = m.cmd.Process.Kill()
	<-m.ended
	if mounted, err := m.mounted(); mounted || err != nil {
		return errors.Join(unmounting, fusermount("-uz", m.Dir))
	}
	return unmounting
}

func fusermount(how, dir string) error {
	out, err := exec.Command("fusermount3", how, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fusermount3 %s %s: %w: %s", how, dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}
