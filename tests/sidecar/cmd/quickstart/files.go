package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"rdma-engine/sidecar/internal/seaweed"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	// The files that -save writes of.
	textSample  = "1 MiB text"
	smallSample = "4 KiB random"
)

// file is one thing to store, and what has to come back.
type file struct {
	what string
	// data is what a reader has to get.
	data []byte
	// upload is what is sent to SeaweedFS.
	upload seaweed.File
	// kept is how SeaweedFS has to have it on its disk: "plain", "gzip" or "zstd".
	kept string
}

// files are all that is stored. SeaweedFS itself compresses text that gets a tenth smaller or more.
func files() []file {
	all := []file{
		plain("0 B", nil),
		plain("1 B", []byte{0xff}),
		plain("100 B text", text(100)),
		plain(smallSample, random(4*kib)),
		plain("64 KiB random", random(64*kib)),
		plain("1 MiB random", random(mib)),
		plain("4 MiB random", random(4*mib)),
		plain("16 MiB random", random(16*mib)),
		plain("64 MiB random", random(64*mib)),
		compressedByWeed("4 KiB text", text(4*kib)),
		compressedByWeed(textSample, text(mib)),
		compressedByWeed("64 MiB text", text(64*mib)),
		compressedAlready("1 MiB text, sent as gzip", text(mib), gzipped, "gzip"),
		compressedAlready("300 KiB text, sent as zstd", text(300*kib), zstdFrame, "zstd"),
	}
	inCollection := plain("64 KiB random, in a collection", random(64*kib+1))
	inCollection.upload.Collection = "pictures"
	withTTL := plain("64 KiB random, kept an hour", random(64*kib-1))
	withTTL.upload.TTL = "1h"
	return append(all, inCollection, withTTL)
}

func plain(what string, data []byte) file {
	upload := seaweed.File{Name: "data.bin", MIME: "application/octet-stream", Data: data}
	return file{what: what, data: data, upload: upload, kept: "plain"}
}

func compressedByWeed(what string, data []byte) file {
	return file{what: what, data: data, upload: seaweed.File{Name: "data.txt", MIME: "text/plain", Data: data}, kept: "gzip"}
}

func compressedAlready(what string, data []byte, compress func([]byte) []byte, how string) file {
	// "gzip" for zstd too: it is how SeaweedFS marks a needle as compressed.
	upload := seaweed.File{Name: "data.txt", MIME: "text/plain", Data: compress(data), Encoding: "gzip"}
	return file{what: what, data: data, upload: upload, kept: how}
}

// seed makes every file another one, and the same one in each run.
var seed uint64

func source() rand.Source {
	seed++
	return rand.NewPCG(seed, 0)
}

func random(size int) []byte {
	numbers := source()
	p := make([]byte, 0, size+8)
	for len(p) < size {
		p = binary.LittleEndian.AppendUint64(p, numbers.Uint64())
	}
	return p[:size]
}

// text is lines of words and numbers; it gets a third of its size when compressed.
func text(size int) []byte {
	words := []string{"needle", "volume", "cookie", "offset", "superblock", "index", "tombstone", "vacuum", "replica", "lease"}
	numbers := rand.New(source())
	p := make([]byte, 0, size+64)
	for len(p) < size {
		p = append(p, words[numbers.IntN(len(words))]...)
		p = append(p, ' ')
		p = strconv.AppendInt(p, numbers.Int64N(1e4), 10)
		p = append(p, '\n')
	}
	return p[:size]
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(data) // a bytes.Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// zstdFrame is data as one Zstandard frame of raw blocks (RFC 8878, 3.1.1): valid, if no smaller. The standard
// library has no encoder, and what is tried is the reader.
func zstdFrame(data []byte) []byte {
	const blockMax = 128 * kib
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd}
	frame = append(frame, 0xa0) // a single segment, its size in 4 bytes, no checksum, no dictionary
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(data)))
	for {
		n := min(len(data), blockMax)
		block := uint32(n) << 3 // bits 1 and 2: type 0, raw
		if n == len(data) {
			block |= 1 // the last one
		}
		frame = append(frame, byte(block), byte(block>>8), byte(block>>16))
		frame = append(frame, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return frame
		}
	}
}
