package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func frame(payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))) + payload
}

func TestFramesComeWholeHoweverTheStreamIsCut(t *testing.T) {
	payloads := []string{"one", "", strings.Repeat("x", 3*readBufferBytes), "four", strings.Repeat("y", maxFrameBytes)}
	var stream string
	for _, p := range payloads {
		stream += frame(p)
	}
	for name, src := range map[string]io.Reader{
		"at once":               strings.NewReader(stream),
		"byte by byte":          iotest.OneByteReader(strings.NewReader(stream)),
		"in halves":             iotest.HalfReader(strings.NewReader(stream)),
		"with its end attached": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		r := frameReader{src: src}
		for i, want := range payloads {
			got, err := r.next()
			if err != nil || string(got) != want {
				t.Fatalf("%s: frame %d is %d bytes, %v; want %d", name, i, len(got), err, len(want))
			}
		}
		if _, err := r.next(); err != io.EOF {
			t.Errorf("%s: the end is %v", name, err)
		}
	}
}

func TestAStreamThatEndsInsideAFrameIsNoCleanEnd(t *testing.T) {
	whole := frame("payload")
	for end := 1; end < len(whole); end++ {
		r := frameReader{src: strings.NewReader(whole[:end])}
		if _, err := r.next(); err != io.ErrUnexpectedEOF {
			t.Errorf("cut at %d: %v", end, err)
		}
	}
}

func TestAFrameOverTheLimitIsRefusedBeforeItsBytesAreRead(t *testing.T) {
	src := bytes.NewReader(binary.LittleEndian.AppendUint32(nil, maxFrameBytes+1))
	r := frameReader{src: src}
	if _, err := r.next(); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if len(r.buf) > readBufferBytes {
		t.Errorf("%d bytes were set aside for it", len(r.buf))
	}
}
