package enginetest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

const (
	superblockBytes = 8
	headerBytes     = 16
	// CRC and append time.
	footerBytes = 12
	// Needles start at multiples of this.
	alignment = 8

	flagCompressed = 0x01
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Volume is a SeaweedFS volume of version 3 with a 16-byte index, as it is being written.
type Volume struct {
	dat, idx bytes.Buffer
}

// NewVolume starts an empty volume.
func NewVolume() *Volume {
	v := &Volume{}
	v.dat.Write([]byte{3, 0, 0, 0, 0, 0, 0, 0})
	return v
}

// Put appends a needle.
func (v *Volume) Put(id uint64, cookie uint32, data []byte) {
	v.append(id, cookie, data, crc32.Checksum(data, castagnoli), 0)
}

// PutGzip appends a needle whose data is stored compressed; readers get it decompressed.
func (v *Volume) PutGzip(id uint64, cookie uint32, data []byte) {
	var stored bytes.Buffer
	// Its errors are those of the writer, and a buffer has none.
	z := gzip.NewWriter(&stored)
	z.Write(data)
	z.Close()
	v.append(id, cookie, stored.Bytes(), crc32.Checksum(stored.Bytes(), castagnoli), flagCompressed)
}

// PutCorrupt appends a needle whose checksum is not that of its data.
func (v *Volume) PutCorrupt(id uint64, cookie uint32, data []byte) {
	v.append(id, cookie, data, crc32.Checksum(data, castagnoli)^1, 0)
}

func (v *Volume) append(id uint64, cookie uint32, data []byte, crc uint32, flags byte) {
	start := v.dat.Len()
	size := 0
	if len(data) > 0 {
		// The data's length, the data, and the flags.
		size = 4 + len(data) + 1
	}
	var b []byte
	b = binary.BigEndian.AppendUint32(b, cookie)
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	if size > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		b = append(b, data...)
		b = append(b, flags)
	}
	b = binary.BigEndian.AppendUint32(b, crc)
	b = binary.BigEndian.AppendUint64(b, uint64(1)<<60) // append time, ns: 2006
	padding := alignment - (headerBytes+size+footerBytes)%alignment
	v.dat.Write(append(b, make([]byte, padding)...))

	var entry []byte
	entry = binary.BigEndian.AppendUint64(entry, id)
	entry = binary.BigEndian.AppendUint32(entry, uint32(start/alignment))
	entry = binary.BigEndian.AppendUint32(entry, uint32(size))
	v.idx.Write(entry)
}

// Write stores the volume in dir as volume vid, of a collection if that is not empty.
func (v *Volume) Write(dir, collection string, vid uint32) error {
	name := fmt.Sprint(vid)
	if collection != "" {
		name = collection + "_" + name
	}
	return store(dir, name, v.dat.Bytes(), v.idx.Bytes())
}

func store(dir, name string, dat, idx []byte) error {
	path := filepath.Join(dir, name)
	return errors.Join(os.WriteFile(path+".dat", dat, 0o600), os.WriteFile(path+".idx", idx, 0o600))
}

// Stored is a needle as it lies on disk, for comparison with what the engine gives.
type Stored struct {
	ID     uint64
	Cookie uint32
	Data   []byte
}

// CopyRealVolume puts the volume written by SeaweedFS that is among the test data into dir, as
// volume vid.
func CopyRealVolume(dir string, vid uint32) error {
	dat, idx, err := realVolume()
	if err != nil {
		return err
	}
	return store(dir, fmt.Sprint(vid), dat, idx)
}

// RealNeedles returns the live needles of that volume, read without the engine's help.
func RealNeedles() ([]Stored, error) {
	dat, idx, err := realVolume()
	if err != nil {
		return nil, err
	}
	return parse(dat, idx)
}

func realVolume() (dat, idx []byte, err error) {
	path := filepath.Join(Root(), "tests", "data", "healthy_volume")
	dat, datErr := os.ReadFile(path + ".dat")
	idx, idxErr := os.ReadFile(path + ".idx")
	return dat, idx, errors.Join(datErr, idxErr)
}

// parse reads the live needles of a volume of version 2 or 3.
func parse(dat, idx []byte) ([]Stored, error) {
	live := map[uint64][]byte{}
	for ; len(idx) >= 16; idx = idx[16:] {
		id := binary.BigEndian.Uint64(idx)
		offset := int(binary.BigEndian.Uint32(idx[8:])) * alignment
		size := int32(binary.BigEndian.Uint32(idx[12:]))
		if offset == 0 || size < 0 {
			delete(live, id)
		} else {
			live[id] = dat[offset:]
		}
	}
	var needles []Stored
	for id, bytes := range live {
		needle, err := parseNeedle(id, bytes)
		if err != nil {
			return nil, err
		}
		needles = append(needles, needle)
	}
	return needles, nil
}

func parseNeedle(id uint64, b []byte) (Stored, error) {
	if found := binary.BigEndian.Uint64(b[4:]); found != id {
		return Stored{}, fmt.Errorf("the index points needle %d at needle %d", id, found)
	}
	n := Stored{ID: id, Cookie: binary.BigEndian.Uint32(b)}
	if size := binary.BigEndian.Uint32(b[12:]); size == 0 {
		return n, nil
	}
	length := int(binary.BigEndian.Uint32(b[headerBytes:]))
	body := b[headerBytes+4:]
	n.Data = body[:length]
	if body[length]&flagCompressed != 0 {
		return n, fmt.Errorf("needle %d is compressed, which this reader does not know", id)
	}
	return n, nil
}
