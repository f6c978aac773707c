package serve

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"

	"rdma-engine/sidecar/engine"
)

// maxQueryBytes is the longest query of a /read: a file id, two numbers and the URL of a server.
const maxQueryBytes = 1 << 10

// piece is the byte range that one /read asks for.
type piece struct {
	// Its Size is never 0, and Offset + Size fits an int64.
	engine.Request
	// volumeServer is where the client knows the needle to be, as it was given; it may be empty.
	volumeServer string
}

// fileID is the needle's, in SeaweedFS's form.
func (p *piece) fileID() string { return fmt.Sprintf("%d,%x%08x", p.Volume, p.Needle, p.Cookie) }

// parsePiece reads the query of a /read: offset, size, and the needle, either as file_id=3,01637037d6, or as volume,
// needle and cookie, each a decimal number, as mounts before 4.44 did; volume_server may come with it. Nothing else
// may, and nothing twice.
func parsePiece(query string, maxSize uint64) (*piece, error) {
	if len(query) > maxQueryBytes {
		return nil, fmt.Errorf("the query has %d bytes, over the %d there may be", len(query), maxQueryBytes)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	f := fields{values: values}
	p := &piece{}
	if id, ok := f.text("file_id"); ok {
		p.Request, err = engine.ParseFileID(id)
	} else {
		p.Volume = uint32(f.number("volume", 0, math.MaxUint32))
		p.Needle = f.number("needle", 0, math.MaxUint64)
		p.Cookie = uint32(f.number("cookie", 0, math.MaxUint32))
	}
	p.Size = f.number("size", 1, min(maxSize, math.MaxInt64))
	p.Offset = f.number("offset", 0, math.MaxInt64-p.Size)
	p.volumeServer, _ = f.text("volume_server")
	return p, errors.Join(err, f.finish())
}

// fields takes the values of a query one by one.
type fields struct {
	values url.Values
	err    error
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

func (f *fields) text(name string) (string, bool) {
	all, ok := f.values[name]
	delete(f.values, name)
	if len(all) > 1 {
		f.fail("%s is given %d times", name, len(all))
	}
	if !ok {
		return "", false
	}
	return all[0], true
}

func (f *fields) number(name string, least, most uint64) uint64 {
	text, ok := f.text(name)
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case !ok:
		f.fail("%s is missing", name)
	case errors.Is(err, strconv.ErrSyntax):
		f.fail("%s=%.40q is no decimal number", name, text)
	case err != nil || n < least || n > most:
		f.fail("%s=%.40s is not from %d to %d", name, text, least, most)
	default:
		return n
	}
	return least
}

// finish reports what was wrong, or left over.
func (f *fields) finish() error {
	for name := range f.values {
		f.fail("there is no parameter %.40q", name)
	}
	return f.err
}

// check decides whether the piece may be served, of a needle this long of which so many bytes were brought.
func (p *piece) check(needleSize, brought uint64) error {
	if p.Offset+p.Size >= needleSize {
		return &cutError{end: p.Offset + p.Size, needleSize: needleSize}
	}
	if brought != p.Size {
		return fmt.Errorf("%d bytes came where %d were asked for", brought, p.Size)
	}
	return nil
}

// cutError refuses a piece that reaches the end of its needle.
//
// The mount answers a read of a file from one chunk only. Where the chunk ends before the read does, it asks for a
// piece up to the chunk's end and hands the kernel what it gets, which the kernel takes for the end of the file. Such
// a piece can not be told from one that happens to end there: weed mount 4.44 lost everything behind the first chunk
// of a file when pieces were served that end exactly with the needle. After an error it reads the ordinary way, which
// goes on in the next chunk.
type cutError struct{ end, needleSize uint64 }

func (e *cutError) Error() string {
	return fmt.Sprintf("the piece ends at %d, and the needle at %d: what reaches a needle's end is left to the ordinary path, "+
		"because the mount takes a piece that was cut there for the end of the file", e.end, e.needleSize)
}
