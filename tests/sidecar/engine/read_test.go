package engine

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"rdma-engine/sidecar/internal/enginetest"
)

func TestEveryNeedleOfARealVolumeIsIdenticalHoweverItIsRead(t *testing.T) {
	t.Parallel()
	stored, err := enginetest.RealNeedles()
	if err != nil || len(stored) == 0 {
		t.Fatalf("the volume has %d needles, %v", len(stored), err)
	}
	c := open(t, startEngine(t), Options{VerifyCRC: true})
	ctx := context.Background()
	for _, needle := range stored {
		r := Request{Volume: realVolume, Needle: needle.ID, Cookie: needle.Cookie}
		view := read(t, c, r)
		if !bytes.Equal(view.Bytes(), needle.Data) {
			t.Errorf("needle %d: the view differs", needle.ID)
		}
		if view.Len() != len(needle.Data) || view.NeedleSize() != uint64(len(needle.Data)) {
			t.Errorf("needle %d: %d of %d bytes, want %d", needle.ID, view.Len(), view.NeedleSize(), len(needle.Data))
		}
		if view.CRC() != crc32.Checksum(needle.Data, castagnoli) || !view.CRCVerified() || view.Transport() != "local" {
			t.Errorf("needle %d: CRC %08x, verified %v, by %q", needle.ID, view.CRC(), view.CRCVerified(), view.Transport())
		}
		if took := view.EngineTime(); took <= 0 || view.CompletionTime() > took {
			t.Errorf("needle %d: the read took %v of the engine's %v", needle.ID, view.CompletionTime(), took)
		}
		if err := view.Close(); err != nil {
			t.Error(err)
		}
		if all, err := c.ReadAll(ctx, r); err != nil || !bytes.Equal(all, needle.Data) {
			t.Errorf("needle %d: ReadAll gave %d bytes, %v", needle.ID, len(all), err)
		}
		p := make([]byte, len(needle.Data))
		if n, err := c.ReadInto(ctx, r, p); err != nil || !bytes.Equal(p[:n], needle.Data) {
			t.Errorf("needle %d: ReadInto gave %d bytes, %v", needle.ID, n, err)
		}
	}
}

func TestARangeIsTheNeedlesBytesFromOffsetOn(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{VerifyCRC: true})
	data := bigData()[:8<<20]
	for _, part := range []struct{ offset, size uint64 }{
		{0, 1}, {1, 1}, {7, 9}, {4095, 2}, {4096, 4096}, {1<<20 - 1, 3}, {12345, 1 << 20}, {3, 5<<20 + 1},
	} {
		r := own(bigNeedle)
		r.Offset, r.Size = part.offset, part.size
		view := read(t, c, r)
		if !bytes.Equal(view.Bytes(), data[part.offset:part.offset+part.size]) {
			t.Errorf("%+v differs", part)
		}
		if view.NeedleSize() != bigBytes {
			t.Errorf("%+v is of %d bytes", part, view.NeedleSize())
		}
		view.Close()
	}
}

func TestARangeIsCutAtTheNeedlesEnd(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{VerifyCRC: true})
	for _, part := range []struct {
		offset, size uint64
		want         string
	}{{1, 0, "ello"}, {3, 100, "lo"}, {0, 5, "hello"}, {4, 1, "o"}} {
		r := own(helloNeedle)
		r.Offset, r.Size = part.offset, part.size
		if got, err := c.ReadAll(context.Background(), r); err != nil || string(got) != part.want {
			t.Errorf("%+v: %q, %v", part, got, err)
		}
	}
}

func TestAnEmptyNeedleIsReadAsNoBytes(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{VerifyCRC: true})
	view := read(t, c, own(emptyNeedle))
	if view.Len() != 0 || len(view.Bytes()) != 0 || view.NeedleSize() != 0 || view.CRC() != 0 {
		t.Errorf("%d bytes of %d, CRC %08x", view.Len(), view.NeedleSize(), view.CRC())
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	if all, err := c.ReadAll(context.Background(), own(emptyNeedle)); err != nil || len(all) != 0 {
		t.Errorf("ReadAll: %d bytes, %v", len(all), err)
	}
	if n, err := c.ReadInto(context.Background(), own(emptyNeedle), nil); n != 0 || err != nil {
		t.Errorf("ReadInto: %d, %v", n, err)
	}
	awaitNoSessions(t, e)
}

func TestACompressedNeedleIsReadDecompressed(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{VerifyCRC: true})
	data := gzipData()
	view := read(t, c, own(gzipNeedle))
	if !bytes.Equal(view.Bytes(), data) || view.NeedleSize() != uint64(len(data)) {
		t.Errorf("%d bytes of %d", view.Len(), view.NeedleSize())
	}
	view.Close()
	r := own(gzipNeedle)
	r.Offset, r.Size = 1000, 77
	if got, err := c.ReadAll(context.Background(), r); err != nil || !bytes.Equal(got, data[1000:1077]) {
		t.Errorf("the range is %q, %v", got, err)
	}
}

func TestTheCollectionHasToBeTheVolumes(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{})
	r := Request{Volume: otherVolume, Needle: helloNeedle, Cookie: cookie, Collection: "pictures"}
	if got, err := c.ReadAll(context.Background(), r); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	r.Collection = "songs"
	if _, err := c.ReadAll(context.Background(), r); !errors.Is(err, VolumeNotFound) {
		t.Errorf("of another collection: %v", err)
	}
}

func TestWhatIsLongerThanTheLargestTransferIsReadInSeveral(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--max-transfer-size", "1048576")
	c := open(t, e, Options{VerifyCRC: true})
	ctx := context.Background()
	if _, err := c.Read(ctx, own(bigNeedle)); !errors.Is(err, TransferTooLarge) {
		t.Errorf("in one: %v", err)
	}
	before := c.Stats().Reads
	all, err := c.ReadAll(ctx, own(bigNeedle))
	if err != nil || !bytes.Equal(all, bigData()) {
		t.Fatalf("ReadAll: %d bytes, %v", len(all), err)
	}
	if pieces := c.Stats().Reads - before; pieces != bigBytes>>20+1 {
		t.Errorf("it took %d transfers", pieces)
	}
	r := own(bigNeedle)
	r.Offset, r.Size = 999, 3<<20
	p := make([]byte, 4<<20)
	if n, err := c.ReadInto(ctx, r, p); err != nil || !bytes.Equal(p[:n], all[999:999+3<<20]) {
		t.Errorf("ReadInto: %d bytes, %v", n, err)
	}
	awaitNoSessions(t, e)
}

func TestReadIntoFillsAShortBufferAndSaysSo(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{VerifyCRC: true})
	ctx := context.Background()
	for _, x := range []struct {
		room, size int
		want       string
		err        error
	}{
		{0, 0, "", io.ErrShortBuffer}, {3, 0, "hel", io.ErrShortBuffer}, {4, 5, "hell", io.ErrShortBuffer},
		{5, 0, "hello", nil}, {9, 0, "hello", nil}, {9, 2, "he", nil}, {2, 2, "he", nil},
	} {
		r := own(helloNeedle)
		r.Size = uint64(x.size)
		p := make([]byte, x.room)
		n, err := c.ReadInto(ctx, r, p)
		if string(p[:n]) != x.want || err != x.err {
			t.Errorf("%d bytes into %d: %q, %v", x.size, x.room, p[:n], err)
		}
	}
}

func TestPingAndCapabilitiesTellTheTruth(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{ClientID: "test"})
	ctx := context.Background()
	if rtt, err := c.Ping(ctx); err != nil || rtt <= 0 {
		t.Errorf("Ping: %v, %v", rtt, err)
	}
	view := read(t, c, own(helloNeedle))
	defer view.Close()
	caps, err := c.Capabilities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if caps.ActiveSessions != 1 || caps.PoolBytes != 64<<20 || caps.RealRDMA || caps.ProtocolVersion == 0 || caps.MaxTransferSize == 0 {
		t.Errorf("%+v", caps)
	}
}

func TestAViewOutlivesOtherReadsAndTellsItsChecksum(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	view := read(t, c, small(0))
	for i := 1; i < smallCount; i++ {
		read(t, c, small(i)).Close()
	}
	if !bytes.Equal(view.Bytes(), smallData(smallNeedles)) {
		t.Error("the bytes changed during the lease")
	}
	if err := view.Verify(); err != nil {
		t.Error(err)
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	if err := view.Close(); err != nil || view.Bytes() != nil {
		t.Errorf("closed again: %v, %d bytes", err, len(view.Bytes()))
	}
	if view.Verify() == nil {
		t.Error("a closed view was verified")
	}
	awaitNoSessions(t, e)
	if s := c.Stats(); s.CompleteErrors != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAChecksumTheEngineDoesNotAgreeWithIsReported(t *testing.T) {
	t.Parallel()
	told := make(chan error, 1)
	e := startEngine(t)
	c := open(t, e, Options{OnCompleteError: func(err error) { told <- err }})
	view := read(t, c, own(helloNeedle))
	view.computed.Store(crcComputed | uint64(view.CRC()^1))
	view.Close()
	if err := <-told; err == nil {
		t.Error("nil was reported")
	}
	if s := c.Stats(); s.CompleteErrors != 1 || s.Completed != 0 {
		t.Errorf("%+v", s)
	}
	awaitNoSessions(t, e)
}
