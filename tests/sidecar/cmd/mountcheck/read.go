package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// A reading is how a reader, one of several, reads a file and compares it: it returns how many bytes were read.
type reading func(reader int, dir string, f stored) (int64, error)

// sequential reads a file from start to end in blocks.
func sequential(block int) reading {
	return func(_ int, dir string, f stored) (int64, error) {
		file, err := os.Open(filepath.Join(dir, f.name))
		if err != nil {
			return 0, err
		}
		defer file.Close()
		buffer, at := make([]byte, block), 0
		for {
			n, err := file.Read(buffer)
			if at+n > len(f.data) {
				return int64(at), fmt.Errorf("%s has more than %d bytes", f.name, len(f.data))
			}
			if err := same(f, at, buffer[:n]); err != nil {
				return int64(at), err
			}
			at += n
			if errors.Is(err, io.EOF) {
				if at != len(f.data) {
					return int64(at), fmt.Errorf("%s ends after %d bytes of %d", f.name, at, len(f.data))
				}
				return int64(at), nil
			}
			if err != nil {
				return int64(at), err
			}
		}
	}
}

// random reads a file at random offsets so many times, up to longest bytes each time, with these further flags of
// open. O_DIRECT goes past the kernel's cache, so that each byte is asked for as often as it is read.
func random(times, longest, flags int) reading {
	return func(reader int, dir string, f stored) (int64, error) {
		if len(f.data) == 0 {
			return 0, nil
		}
		file, err := os.OpenFile(filepath.Join(dir, f.name), os.O_RDONLY|flags, 0)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		numbers := rand.New(rand.NewPCG(uint64(reader), uint64(len(f.data))))
		buffer, total := make([]byte, longest), int64(0)
		for range times {
			at := numbers.IntN(len(f.data))
			wanted := 1 + numbers.IntN(longest)
			n, err := file.ReadAt(buffer[:wanted], int64(at))
			total += int64(n)
			if err != nil && !errors.Is(err, io.EOF) {
				return total, err
			}
			if there := min(wanted, len(f.data)-at); n != there {
				return total, fmt.Errorf("%s: %d bytes from %d on instead of %d", f.name, n, at, there)
			}
			if err := same(f, at, buffer[:n]); err != nil {
				return total, err
			}
		}
		return total, nil
	}
}

const direct = syscall.O_DIRECT

func same(f stored, at int, got []byte) error {
	for i, b := range got {
		if b != f.data[at+i] {
			return fmt.Errorf("%s: byte %d is not the one that was stored", f.name, at+i)
		}
	}
	return nil
}
