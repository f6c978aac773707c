package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"rdma-engine/sidecar/internal/seaweed"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	// How many files there are for readers to have one each, and how long each is: a little over a chunk.
	readers     = 64
	readersSize = 4*mib + 256*kib
)

// stored is a file whose chunks, in the order the filer lists them, lie one after the other from 0 on.
type stored struct {
	name string
	data []byte
	// chunks is how many chunks it has.
	chunks int
}

// maker is a way to make a file on a file system, and what is to be in it then.
type maker struct {
	name string
	data []byte
	make func(path string, data []byte) error
}

// store stores everything that is read later.
func (c *check) store(ctx context.Context) (all []stored, weak []weakFile, err error) {
	overHTTP := c.overHTTP()
	makers, weakMakers := throughMount(), weakMakers()
	manifest := make(chan error, 1)
	longest := randomBytes((manifestChunks + 1) * manifestChunkSize)
	go func() { manifest <- c.appendMany(ctx, "/manifest", longest) }()
	err = inParallel(4, len(overHTTP), func(i int) error { return overHTTP[i].put(ctx) })
	err = errors.Join(err, c.mounted(ctx, c.filer, func(dir string) error {
		for _, m := range append(makers, weakMakers...) {
			if err := m.make(filepath.Join(dir, m.name), m.data); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		return nil
	}))
	if err = errors.Join(err, <-manifest); err != nil {
		return nil, nil, err
	}
	for _, f := range overHTTP {
		all = append(all, stored{name: f.name, data: f.data})
	}
	for _, m := range makers {
		all = append(all, stored{name: m.name, data: m.data})
	}
	for i := range all {
		chunks, err := c.filer.Chunks(ctx, "/"+all[i].name)
		if err != nil {
			return nil, nil, err
		}
		if !inOrder(chunks) {
			return nil, nil, fmt.Errorf("the chunks of %s do not lie one after the other", all[i].name)
		}
		all[i].chunks = len(chunks)
	}
	for _, m := range weakMakers {
		weak = append(weak, weakFile{what: m.name, filer: c.filer, name: m.name, data: m.data, block: weakBlock})
	}
	secret := randomBytes(6 * mib)
	weak = append(weak, weakFile{what: "1,000 chunks and more", filer: c.filer, name: "manifest", data: longest, block: smallBlock},
		weakFile{what: "encrypted by the filer", filer: c.encrypting, name: "encrypted", data: secret, block: weakBlock})
	return all, weak, c.encrypting.Put(ctx, "/encrypted", "application/octet-stream", secret)
}

// inOrder is what the mount's RDMA path takes for granted.
func inOrder(chunks []seaweed.Chunk) bool {
	end := int64(0)
	for _, chunk := range chunks {
		if chunk.Offset != end {
			return false
		}
		end += chunk.Size
	}
	return true
}

// upload is a file that is stored over the filer's HTTP.
type upload struct {
	name string
	data []byte
	put  func(ctx context.Context) error
}

func (c *check) overHTTP() (all []upload) {
	add := func(name, mime string, data []byte) {
		all = append(all, upload{name, data, func(ctx context.Context) error { return c.filer.Put(ctx, "/"+name, mime, data) }})
	}
	const binaryMIME, textMIME = "application/octet-stream", "text/plain"
	add("random-many", binaryMIME, randomBytes(24*mib+12345))
	add("text-many.txt", textMIME, textBytes(16*mib+123))
	add("random-one", binaryMIME, randomBytes(3*mib+1))
	add("text-one.txt", textMIME, textBytes(2*mib+7))
	add("exactly-one", binaryMIME, randomBytes(4*mib))
	add("small", binaryMIME, randomBytes(100_000))
	add("tiny", binaryMIME, []byte{0xff})
	add("empty", binaryMIME, nil)
	for i := range readers {
		add("reader-"+strconv.Itoa(i), binaryMIME, randomBytes(readersSize))
	}
	for _, size := range []int{7*mib + 1, 20_000} {
		name, data := fmt.Sprint("appended-", size), randomBytes(size)
		all = append(all, upload{name, data, func(ctx context.Context) error {
			for i := range 3 { // stored, and appended to twice
				piece := data[i*size/3 : (i+1)*size/3]
				if err := c.filer.Append(ctx, "/"+name, binaryMIME, piece); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return all
}

// throughMount are the files that a mount stores such that their chunks are in order: one, or one after the other.
func throughMount() []maker {
	return []maker{
		{"mount-one", randomBytes(mib + 4321), writeWhole},
		{"mount-text.txt", textBytes(mib + 99), writeWhole},
		{"mount-tiny", []byte("x"), writeWhole},
		{"mount-empty", nil, writeWhole},
		{"mount-appended", randomBytes(20_000), func(path string, data []byte) error {
			return inPieces(data, 1000, func(_ int, piece []byte) error { return appendTo(path, piece) })
		}},
		{"mount-synced", randomBytes(10 * mib), func(path string, data []byte) error {
			return writing(path, os.O_CREATE, func(f *os.File) error {
				return inPieces(data, mountChunk, func(at int, piece []byte) error { return writeSynced(f, at, piece) })
			})
		}},
	}
}

// writing opens path, calls do, and closes it, which stores what has been written.
func writing(path string, flags int, do func(f *os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func writeWhole(path string, data []byte) error {
	return writing(path, os.O_CREATE|os.O_TRUNC, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

func appendTo(path string, data []byte) error {
	return writing(path, os.O_CREATE|os.O_APPEND, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// writeSynced writes data at an offset and has the mount store it before anything else is written.
func writeSynced(f *os.File, at int, data []byte) error {
	if _, err := f.WriteAt(data, int64(at)); err != nil {
		return err
	}
	return f.Sync()
}

// inPieces calls do for each piece of data and where it begins.
func inPieces(data []byte, size int, do func(at int, piece []byte) error) error {
	for at := 0; at < len(data); at += size {
		if err := do(at, data[at:min(at+size, len(data))]); err != nil {
			return err
		}
	}
	return nil
}

// inParallel calls do with 0 to n-1, from so many goroutines, and returns the first error there was of each.
func inParallel(goroutines, n int, do func(i int) error) error {
	results := make(chan error)
	for g := range goroutines {
		go func() {
			for i := g; i < n; i += goroutines {
				if err := do(i); err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	var all error
	for range goroutines {
		all = errors.Join(all, <-results)
	}
	return all
}

// numbers makes every file another one, and the same one in each run.
var numbers = rand.New(rand.NewPCG(1, 0))

func randomBytes(size int) []byte {
	p := make([]byte, 0, size+8)
	for len(p) < size {
		p = binary.LittleEndian.AppendUint64(p, numbers.Uint64())
	}
	return p[:size]
}

// textBytes are lines that get much smaller when SeaweedFS compresses them.
func textBytes(size int) []byte {
	p := make([]byte, 0, size+64)
	for len(p) < size {
		p = append(p, "needle "...)
		p = strconv.AppendUint(p, numbers.Uint64N(1e6), 10)
		p = append(p, " of a volume\n"...)
	}
	return p[:size]
}
