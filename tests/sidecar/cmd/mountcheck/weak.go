package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"rdma-engine/sidecar/internal/seaweed"
)

const (
	// A mount cuts what is written through it into chunks of so many bytes (-chunkSizeLimitMB).
	mountChunk = 2 * mib
	// The filer puts so many chunks into one that holds their list.
	manifestChunks    = 1000
	manifestChunkSize = kib
	// How much is asked for at once of the files that the mount may read wrong, and of one whose needles are small: the
	// most and the least the kernel asks for when a file is read in order.
	weakBlock, smallBlock = 128 * kib, 16 * kib
)

// weakFile is one that the RDMA path of weed mount is known not to care for.
type weakFile struct {
	what  string
	filer *filer
	name  string
	data  []byte
	block int
}

// weakMakers make files whose chunks do not lie one after the other in the order of the filer's list.
func weakMakers() []maker {
	patched := randomBytes(12 * mib)
	patch := randomBytes(100_000)
	overwritten := bytes.Clone(patched)
	copy(overwritten[5*mib:], patch)
	sparse := make([]byte, 12*mib)
	head, tail := randomBytes(4*mib), randomBytes(4*mib)
	copy(sparse, head)
	copy(sparse[8*mib:], tail)
	longer := randomBytes(8 * mib)
	rewritten := append(bytes.Clone(longer[:3*mib]), patched[:3*mib]...)
	return []maker{
		{"written front to back, many chunks", randomBytes(12 * mib), writeWhole},
		{"written back to front", randomBytes(8 * mib), func(path string, data []byte) error {
			return writing(path, os.O_CREATE, func(f *os.File) error {
				for at := len(data) - mountChunk; at >= 0; at -= mountChunk {
					if err := writeSynced(f, at, data[at:at+mountChunk]); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{"overwritten in the middle", overwritten, func(path string, _ []byte) error {
			if err := writeWhole(path, patched); err != nil {
				return err
			}
			return writing(path, 0, func(f *os.File) error { return writeSynced(f, 5*mib, patch) })
		}},
		{"sparse, a hole of 4 MiB", sparse, func(path string, data []byte) error {
			return writing(path, os.O_CREATE, func(f *os.File) error {
				for _, at := range []int{0, 2 * mib, 8 * mib, 10 * mib} {
					if err := writeSynced(f, at, data[at:at+mountChunk]); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{"sparse, a hole at the start", sparse[4*mib:], func(path string, _ []byte) error {
			return writing(path, os.O_CREATE, func(f *os.File) error { return writeSynced(f, 4*mib, tail) })
		}},
		{"truncated and appended to", rewritten, func(path string, _ []byte) error {
			if err := writeWhole(path, longer); err != nil {
				return err
			}
			if err := os.Truncate(path, 3*mib); err != nil {
				return err
			}
			return appendTo(path, patched[:3*mib])
		}},
		{"appended to, many chunks", randomBytes(7 * mib), func(path string, data []byte) error {
			if err := writeWhole(path, data[:5*mib]); err != nil {
				return err
			}
			return appendTo(path, data[5*mib:])
		}},
	}
}

// appendMany stores data in so many small pieces that the filer puts the list of their chunks into chunks.
func (c *check) appendMany(ctx context.Context, path string, data []byte) error {
	return inPieces(data, manifestChunkSize, func(_ int, piece []byte) error {
		return c.filer.Append(ctx, path, "application/octet-stream", piece)
	})
}

// weaknesses reads the weak files through a mount without RDMA, through one whose sidecar knows only HTTP, and
// through the engines, and prints what was seen. Wrong bytes that come without an engine are the mount's.
func (c *check) weaknesses(ctx context.Context, weak []weakFile) error {
	fmt.Printf("\nFiles the mount's RDMA path is known not to care for: bytes read wrong\n  %-36s %10s %10s %10s", "case", "bytes", "no RDMA", "HTTP only")
	for _, s := range c.sides {
		fmt.Printf(" %22s", s.what)
	}
	fmt.Println()
	for _, f := range weak {
		if err := c.weakness(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	fmt.Println("What is wrong with an engine is wrong without one, byte for byte.")
	return nil
}

func (c *check) weakness(ctx context.Context, f weakFile) error {
	ordinary, err := c.readAsIs(ctx, f)
	if err != nil {
		return err
	}
	if wrong := differing(ordinary, f.data); wrong != 0 {
		return fmt.Errorf("without RDMA, %d of its bytes are not what was stored", wrong)
	}
	overHTTP, err := c.readAsIs(ctx, f, c.httpOnly.arguments()...)
	if err != nil {
		return err
	}
	fmt.Printf("  %-36s %10d %10d %10d", f.what, len(f.data), 0, differing(overHTTP, f.data))
	for _, s := range c.sides {
		got, err := c.readAsIs(ctx, f, s.arguments()...)
		if err != nil {
			return err
		}
		fmt.Printf(" %22d", differing(got, f.data))
		if !bytes.Equal(got, overHTTP) {
			return fmt.Errorf("through %s %d bytes are others than through a sidecar that knows only HTTP", s.what, differing(got, overHTTP))
		}
		if err := c.answers(ctx, s, f); err != nil {
			return err
		}
	}
	fmt.Println()
	return c.answers(ctx, c.httpOnly, f)
}

// readAsIs reads f through a fresh mount, past the kernel's cache, so that each block is one request, and takes
// what comes for what it is.
func (c *check) readAsIs(ctx context.Context, f weakFile, args ...string) ([]byte, error) {
	got := make([]byte, len(f.data))
	err := c.mounted(ctx, f.filer, func(dir string) error {
		file, err := os.OpenFile(filepath.Join(dir, f.name), os.O_RDONLY|direct, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return inPieces(got, f.block, func(at int, block []byte) error {
			if n, err := file.ReadAt(block, int64(at)); n != len(block) {
				return fmt.Errorf("%d bytes from %d on instead of %d: %w", n, at, len(block), err)
			}
			return nil
		})
	}, args...)
	return got, err
}

// differing counts the bytes that are not the same.
func differing(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// answers asks a sidecar what the mount asks of it for f, block by block: each answer has to be what SeaweedFS's
// HTTP gives for the same range, or an error where the range reaches the needle's end or beyond.
func (c *check) answers(ctx context.Context, s *side, f weakFile) error {
	chunks, err := f.filer.Chunks(ctx, "/"+f.name)
	if err != nil {
		return err
	}
	for _, chunk := range chunks {
		needle, err := c.weed.Lookup(ctx, chunk.FileID)
		if err != nil {
			return err
		}
		for at := int64(0); at < chunk.Size; at += int64(f.block) {
			size := min(int64(f.block), chunk.Size-at)
			if err := c.answer(ctx, s, needle, uint64(at), uint64(size)); err != nil {
				return fmt.Errorf("%d bytes of %s from %d on: %w", size, chunk.FileID, at, err)
			}
		}
	}
	return nil
}

func (c *check) answer(ctx context.Context, s *side, needle seaweed.Needle, at, size uint64) error {
	query := url.Values{"file_id": {needle.ID}, "offset": {fmt.Sprint(at)}, "size": {fmt.Sprint(size)},
		"volume_server": {needle.URL[:len(needle.URL)-len(needle.ID)-1]}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.sidecar+"/read?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	// A byte more than is asked for tells whether the range reaches the end.
	want, err := c.weed.ReadRange(ctx, needle, at, size+1)
	if response.StatusCode != http.StatusOK {
		if err == nil && uint64(len(want)) > size {
			return fmt.Errorf("%s answers %s: %s", s.what, response.Status, body)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s gives %d bytes, but over HTTP: %w", s.what, len(body), err)
	}
	if uint64(len(body)) != size || !bytes.HasPrefix(want, body) {
		return fmt.Errorf("%s gives other bytes than SeaweedFS's HTTP", s.what)
	}
	return nil
}
