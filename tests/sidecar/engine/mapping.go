package engine

import (
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
)

// fcntl(2)'s command and flags for memfd seals, which package syscall does not have.
const (
	fGetSeals        = 1034
	fSealShrink      = 0x2
	fSealWrite       = 0x8
	fSealFutureWrite = 0x10
)

// mapping is the pool of one run of an engine, mapped read-only. It is shared by the client,
// its connections and its Views, and unmapped when the last of them lets go.
type mapping struct {
	// Another boot id is another run of the engine, with another pool.
	bootID string
	caps   Capabilities
	data   []byte
	refs   atomic.Int64
}

// mapPool maps the pool behind fd, with one reference held by the caller. It does not close fd.
func mapPool(fd int, attach attachPoolResponse, caps Capabilities) (*mapping, error) {
	if attach.poolBytes == 0 || attach.poolBytes > math.MaxInt {
		return nil, protocolError("a pool of %d bytes", attach.poolBytes)
	}
	if err := checkPool(fd, attach.poolBytes); err != nil {
		return nil, err
	}
	data, err := syscall.Mmap(fd, 0, int(attach.poolBytes), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("engine: map the pool's %d bytes: %w; look at this process's limit on address space (ulimit -v)", attach.poolBytes, err)
	}
	m := &mapping{bootID: attach.bootID, caps: caps, data: data}
	m.refs.Store(1)
	return m, nil
}

// checkPool makes sure that the mapping can be relied on: a file that could shrink would turn
// reads into SIGBUS, and one that other clients could write to would make them lie.
func checkPool(fd int, bytes uint64) error {
	seals, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), fGetSeals, 0)
	if errno != 0 {
		return fmt.Errorf("engine: look at the seals of the descriptor the engine sent: %w; it is no memfd", errno)
	}
	if seals&fSealShrink == 0 || seals&(fSealWrite|fSealFutureWrite) == 0 {
		return protocolError("the pool's memfd has seals %#x, it lacks the one against shrinking or the one against writing", seals)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("engine: look at the size of the pool: %w", err)
	}
	if stat.Size < 0 || uint64(stat.Size) < bytes {
		return protocolError("the pool's memfd has %d bytes, the engine says %d", stat.Size, bytes)
	}
	return nil
}

// slice returns n bytes at offset, or false where the pool has no such range.
func (m *mapping) slice(offset, n uint64) ([]byte, bool) {
	size := uint64(len(m.data))
	if offset > size || n > size-offset {
		return nil, false
	}
	return m.data[offset : offset+n : offset+n], true
}

func (m *mapping) retain() *mapping {
	m.refs.Add(1)
	return m
}

func (m *mapping) release() {
	if m.refs.Add(-1) == 0 {
		// Unmapping what Mmap returned fails only where it was unmapped before.
		_ = syscall.Munmap(m.data)
		m.data = nil
	}
}
