package engine

import (
	"context"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

func TestARangeOutsideThePoolIsNeverSliced(t *testing.T) {
	m := &mapping{data: make([]byte, 4096)}
	for _, x := range []struct{ offset, n uint64 }{
		{0, 4097}, {4096, 1}, {4097, 0}, {1, 4096}, {math.MaxUint64, 1}, {math.MaxUint64, 0},
		{1, math.MaxUint64}, {math.MaxUint64, math.MaxUint64}, {4095, 2},
	} {
		if s, ok := m.slice(x.offset, x.n); ok {
			t.Errorf("%+v gave %d bytes", x, len(s))
		}
	}
	for _, x := range []struct{ offset, n uint64 }{{0, 4096}, {0, 0}, {4096, 0}, {4095, 1}} {
		if s, ok := m.slice(x.offset, x.n); !ok || len(s) != int(x.n) || cap(s) != len(s) {
			t.Errorf("%+v gave %d bytes, %v", x, len(s), ok)
		}
	}
}

func TestAPoolThatCouldShrinkIsNotMapped(t *testing.T) {
	for name, dir := range map[string]string{"on disk": t.TempDir(), "in memory": "/dev/shm"} {
		f, err := os.CreateTemp(dir, "pool")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		defer f.Close()
		if err := f.Truncate(1 << 20); err != nil {
			t.Fatal(err)
		}
		m, err := mapPool(int(f.Fd()), attachPoolResponse{poolBytes: 1 << 20, bootID: "b"}, Capabilities{})
		if err == nil {
			m.release()
			t.Errorf("an unsealed file %s was mapped", name)
		}
	}
}

func TestAPoolSmallerThanTheEngineSaysIsNotMapped(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	fd := poolDescriptor(t, e)
	size := uint64(len(open(t, e, Options{}).run.Load().data))
	for _, bytes := range []uint64{0, size + 1, math.MaxInt64, math.MaxUint64} {
		m, err := mapPool(fd, attachPoolResponse{poolBytes: bytes, bootID: "b"}, Capabilities{})
		if err == nil {
			m.release()
			t.Errorf("%d bytes of %d were mapped", bytes, size)
		}
	}
	m, err := mapPool(fd, attachPoolResponse{poolBytes: size, bootID: "b"}, Capabilities{})
	if err != nil {
		t.Fatal(err)
	}
	m.release()
}

func TestNoClientCanWriteToThePool(t *testing.T) {
	t.Parallel()
	fd := poolDescriptor(t, startEngine(t))
	if data, err := syscall.Mmap(fd, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err == nil {
		syscall.Munmap(data)
		t.Error("a writable mapping was granted")
	}
	if _, err := syscall.Pwrite(fd, []byte("x"), 0); err == nil {
		t.Error("a write was granted")
	}
}

// poolDescriptor asks an engine for its pool.
func poolDescriptor(t *testing.T, e *enginetest.Engine) int {
	t.Helper()
	sock, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	fds := &descriptors{sock: sock.(*net.UnixConn)}
	t.Cleanup(fds.close)
	conn := newConn(fds.sock, nil)
	conn.in.src = fds
	if err := conn.roundTrip(context.Background(), time.Now().Add(time.Minute), nil, &attachPool{}); err != nil {
		t.Fatal(err)
	}
	if len(fds.received) != 1 {
		t.Fatalf("%d descriptors came", len(fds.received))
	}
	return fds.received[0]
}
