package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// The least a content has: whose it is, which version, how long, and the CRC-32C of the rest.
const headerBytes = 32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// content is what a needle holds in one of its versions: a header that tells whose it is, then numbers that follow
// from that. As text it is the same in hexadecimal digits, which SeaweedFS stores compressed.
func content(key, version uint64, size int, text bool) []byte {
	p := make([]byte, max(size, headerBytes)+8)
	seed := bits.RotateLeft64(key*0x9e3779b97f4a7c15, 32) ^ version*0xd1342543de82ef95
	for at := headerBytes; at+8 <= len(p); at += 8 {
		// splitmix64
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(p[at:], z^z>>31)
	}
	p = p[:max(size, headerBytes)]
	binary.LittleEndian.PutUint64(p, key)
	binary.LittleEndian.PutUint64(p[8:], version)
	binary.LittleEndian.PutUint64(p[16:], uint64(len(p)))
	binary.LittleEndian.PutUint64(p[24:], uint64(crc32.Checksum(p[headerBytes:], castagnoli)))
	if text {
		return hex.AppendEncode(nil, p)
	}
	return p
}

// describe says whose content this is the start of, for a message about one that should not be there.
func describe(p []byte, text bool) string {
	if text {
		decoded := make([]byte, len(p)/2)
		n, _ := hex.Decode(decoded, p[:len(p)/2*2]) // as much as there is
		p = decoded[:n]
	}
	if len(p) < headerBytes {
		return fmt.Sprintf("%d bytes, too few to tell whose", len(p))
	}
	sum := crc32.Checksum(p[headerBytes:], castagnoli)
	return fmt.Sprintf("%d bytes headed needle %x version %d size %d checksum right: %v", len(p), binary.LittleEndian.Uint64(p),
		binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:]), uint64(sum) == binary.LittleEndian.Uint64(p[24:]))
}
