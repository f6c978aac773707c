package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"rdma-engine/sidecar/engine"
	"rdma-engine/sidecar/internal/seaweed"
)

// storedFile is a file and where SeaweedFS put it.
type storedFile struct {
	file
	needle  seaweed.Needle
	request engine.Request
}

// checker compares, and counts what it has compared.
type checker struct {
	weed                   *seaweed.Client
	engine                 *engine.Client
	deleted                storedFile
	files, ranges, refused int
}

// storeAll stores the files, and one that is deleted again before the engine has looked at any.
func (c *checker) storeAll(ctx context.Context, files []file) ([]storedFile, error) {
	var all []storedFile
	for _, f := range files {
		s, err := c.store(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	var err error
	if c.deleted, err = c.store(ctx, plain("deleted", random(5*kib))); err != nil {
		return nil, err
	}
	return all, c.weed.Delete(ctx, c.deleted.needle)
}

func (c *checker) store(ctx context.Context, f file) (storedFile, error) {
	needle, err := c.weed.Store(ctx, f.upload)
	if err != nil {
		return storedFile{}, fmt.Errorf("storing %s: %w", f.what, err)
	}
	request, err := engine.ParseFileID(needle.ID)
	request.Collection = f.upload.Collection
	return storedFile{file: f, needle: needle, request: request}, err
}

// compare reads s whole and in ranges, both ways.
func (c *checker) compare(ctx context.Context, s storedFile) error {
	if err := c.overHTTP(ctx, s); err != nil {
		return err
	}
	if err := c.whole(ctx, s); err != nil {
		return err
	}
	size := uint64(len(s.data))
	if size == 0 {
		c.report(s, "empty both ways")
		return nil
	}
	ranges := [][2]uint64{{0, 1}, {size - 1, 1}, {size / 3, size/2 + 1}, {size / 2, 4097}, {size - 1, 4096}}
	for _, r := range ranges {
		if err := c.oneRange(ctx, s, r[0], r[1]); err != nil {
			return fmt.Errorf("%d bytes from %d on: %w", r[1], r[0], err)
		}
	}
	past := s.request
	past.Offset = size
	if err := c.refuse(ctx, past, engine.InvalidRequest); err != nil {
		return fmt.Errorf("a read at its end: %w", err)
	}
	how := "both ways"
	if s.kept == "zstd" {
		how = "through the engine; over HTTP it comes as stored"
	}
	c.report(s, fmt.Sprintf("stored as %s; it and %d ranges are identical %s", s.kept, len(ranges), how))
	return nil
}

func (c *checker) report(s storedFile, how string) {
	c.files++
	fmt.Printf("  %-31s %-15s %s\n", s.what, s.needle.ID, how)
}

// overHTTP checks how SeaweedFS keeps s and, where it can, that it hands out the data.
func (c *checker) overHTTP(ctx context.Context, s storedFile) error {
	body, encoding, err := c.weed.ReadStored(ctx, s.needle)
	if err != nil {
		return err
	}
	if s.kept == "zstd" {
		// SeaweedFS keeps the mark and the bytes but gives them out as they are: only the engine reads them.
		return equal("SeaweedFS, as stored,", body, s.upload.Data)
	}
	if (encoding == "gzip") != (s.kept == "gzip") {
		return fmt.Errorf("SeaweedFS was to keep it as %s, but answers with Content-Encoding %q", s.kept, encoding)
	}
	if body, err = c.weed.Read(ctx, s.needle); err != nil {
		return err
	}
	return equal("SeaweedFS", body, s.data)
}

// whole reads s through the engine: in place, into a buffer, and as a new slice.
func (c *checker) whole(ctx context.Context, s storedFile) error {
	view, err := c.engine.Read(ctx, s.request)
	if err != nil {
		return err
	}
	err = errors.Join(equal("the engine", view.Bytes(), s.data), view.Verify())
	if size := view.NeedleSize(); size != uint64(len(s.data)) {
		err = errors.Join(err, fmt.Errorf("the engine says the needle has %d bytes, not %d", size, len(s.data)))
	}
	if len(s.data) > 0 && !view.CRCVerified() {
		err = errors.Join(err, errors.New("the engine did not check the stored checksum of a whole needle"))
	}
	if err = errors.Join(err, view.Close()); err != nil {
		return err
	}
	buffer := make([]byte, len(s.data))
	n, err := c.engine.ReadInto(ctx, s.request, buffer)
	if err != nil {
		return fmt.Errorf("ReadInto: %w", err)
	}
	if err := equal("ReadInto", buffer[:n], s.data); err != nil {
		return err
	}
	all, err := c.engine.ReadAll(ctx, s.request)
	if err != nil {
		return fmt.Errorf("ReadAll: %w", err)
	}
	return equal("ReadAll", all, s.data)
}

// oneRange reads up to size bytes from offset on, both ways; past the end there are fewer.
func (c *checker) oneRange(ctx context.Context, s storedFile, offset, size uint64) error {
	want := s.data[offset:min(offset+size, uint64(len(s.data)))]
	request := s.request
	request.Offset, request.Size = offset, size
	view, err := c.engine.Read(ctx, request)
	if err != nil {
		return err
	}
	if err := errors.Join(equal("the engine", view.Bytes(), want), view.Verify(), view.Close()); err != nil {
		return err
	}
	c.ranges++
	if s.kept == "zstd" {
		return nil
	}
	body, err := c.weed.ReadRange(ctx, s.needle, offset, uint64(len(want)))
	if err != nil {
		return err
	}
	return equal("SeaweedFS", body, want)
}

// refusals asks for what is not there, and for what was stored after the engine had read the volume's index.
func (c *checker) refusals(ctx context.Context, there storedFile) error {
	wrongCookie, noNeedle, noVolume := there.request, there.request, there.request
	wrongCookie.Cookie ^= 1
	noNeedle.Needle += 1 << 40
	noVolume.Volume = 1 << 31
	for _, r := range []struct {
		what    string
		request engine.Request
		code    engine.Code
	}{
		{"a deleted needle", c.deleted.request, engine.NeedleNotFound},
		{"another cookie", wrongCookie, engine.CookieMismatch},
		{"a needle that never was", noNeedle, engine.NeedleNotFound},
		{"a volume that never was", noVolume, engine.VolumeNotFound},
	} {
		if err := c.refuse(ctx, r.request, r.code); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	var notFound *seaweed.NotFoundError
	if _, err := c.weed.Read(ctx, c.deleted.needle); !errors.As(err, &notFound) {
		return fmt.Errorf("SeaweedFS answers %v for a deleted needle", err)
	}
	later, err := c.store(ctx, plain("32 KiB random, stored later", random(32*kib)))
	if err != nil {
		return err
	}
	if err := c.compare(ctx, later); err != nil {
		return fmt.Errorf("%s (%s): %w", later.what, later.needle.ID, err)
	}
	return nil
}

// refuse makes a request that has to fail with code.
func (c *checker) refuse(ctx context.Context, request engine.Request, code engine.Code) error {
	view, err := c.engine.Read(ctx, request)
	if err == nil {
		return errors.Join(fmt.Errorf("the engine read %d bytes instead of refusing with %s", view.Len(), code), view.Close())
	}
	if !errors.Is(err, code) {
		return fmt.Errorf("the engine answers %w, not %s", err, code)
	}
	c.refused++
	return nil
}

// equal says where got differs from what was stored.
func equal(who string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s gives %d bytes instead of %d", who, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%s gives another byte than was stored from byte %d of %d on", who, i, len(want))
		}
	}
	return nil
}
