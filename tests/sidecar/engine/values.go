package engine

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Values of a reply's fields: nil is the zero value, and a number has to fit.

// text reads a short string without allocating, valid until the next call. Of one that is too
// long to be a name this package knows, it keeps the start.
func (d *decoder) text() ([]byte, error) {
	n, err := d.d.DecodeBytesLen()
	if err != nil || n <= 0 {
		return nil, err
	}
	if n > d.src.Len() {
		return nil, io.ErrUnexpectedEOF
	}
	kept := d.key[:min(n, len(d.key))]
	if _, err := io.ReadFull(&d.src, kept); err != nil {
		return nil, err
	}
	_, err = d.src.Seek(int64(n-len(kept)), io.SeekCurrent)
	return kept, err
}

func (d *decoder) transport() (string, error) {
	name, err := d.text()
	switch string(name) {
	case "local":
		return "local", err
	case "verbs":
		return "verbs", err
	case "tcp":
		return "tcp", err
	}
	return string(name), err
}

func (d *decoder) bool() (bool, error) {
	if null, err := d.null(); null || err != nil {
		return false, err
	}
	return d.d.DecodeBool()
}

// id reads a number that may be absent.
func (d *decoder) id() (v uint64, has bool, err error) {
	if null, err := d.null(); null || err != nil {
		return 0, false, err
	}
	v, err = d.d.DecodeUint64()
	return v, err == nil, err
}

func (d *decoder) null() (bool, error) {
	code, err := d.d.PeekCode()
	if err != nil || code != msgpcode.Nil {
		return false, err
	}
	return true, d.d.DecodeNil()
}

func (d *decoder) uint32() (uint32, error) {
	v, err := d.upTo(math.MaxUint32)
	return uint32(v), err
}

func (d *decoder) upTo(limit uint64) (uint64, error) {
	v, err := d.d.DecodeUint64()
	if err == nil && v > limit {
		err = fmt.Errorf("the number %d is over %d", v, limit)
	}
	return v, err
}

func (d *decoder) strings() ([]string, error) {
	n, err := d.d.DecodeArrayLen()
	if err != nil || n <= 0 {
		return nil, err
	}
	if n > d.src.Len() {
		return nil, io.ErrUnexpectedEOF
	}
	all := make([]string, n)
	for i := range all {
		if all[i], err = d.d.DecodeString(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// skip passes over a value of any type. The library's own Skip has no limit to its recursion.
func (d *decoder) skip(depth int) error {
	if depth > maxSkipDepth {
		return errors.New("an unknown field is nested too deeply")
	}
	code, err := d.d.PeekCode()
	if err != nil {
		return err
	}
	values := 0
	switch {
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		values, err = d.d.DecodeMapLen()
		values *= 2
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		values, err = d.d.DecodeArrayLen()
	default:
		return d.d.Skip()
	}
	for ; err == nil && values > 0; values-- {
		err = d.skip(depth + 1)
	}
	return err
}
