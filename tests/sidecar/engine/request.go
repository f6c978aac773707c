package engine

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Request names a byte range of a needle.
type Request struct {
	// Volume, Needle and Cookie are the parts of a file id; see [ParseFileID].
	Volume uint32
	Needle uint64
	Cookie uint32
	// Offset is the first byte wanted, counted in the needle as SeaweedFS serves it
	// (decompressed). At or past the end it is an InvalidRequest, unless the needle is empty
	// and Offset 0.
	Offset uint64
	// Size is the bytes wanted; 0, or more than there are, means to the end of the needle.
	Size uint64
	// Timeout is how long the lease on the buffer may last, rounded up to a second on the wire;
	// 0 means the engine's default, and the engine cuts what is over its maximum. It has
	// nothing to do with how long the call may take: that is the context's business.
	Timeout time.Duration
	// Collection, if set, is the one the volume must belong to.
	Collection string
	// Peer, if set, is the peer to read from, by name.
	Peer string
	// RemoteAddr and RemoteKey, if not 0, name memory of a peer to read instead of the needle;
	// a Size of 0 then means 65,536 bytes.
	RemoteAddr uint64
	RemoteKey  uint32
}

func (r Request) remote() bool { return r.RemoteAddr != 0 || r.RemoteKey != 0 }

// The lease in whole seconds, as StartRead carries it.
func (r Request) timeoutSecs() uint64 {
	if r.Timeout <= 0 {
		return 0
	}
	return uint64((r.Timeout-1)/time.Second) + 1
}

const (
	cookieDigits = 8
	needleDigits = 16
)

// ParseFileID makes a Request of a SeaweedFS file id: the volume in decimal, a comma, the needle
// id in hexadecimal (leading zeros may be left out) with the cookie's 8 digits after it, and
// optionally _n, which adds n to the needle id. "3,01637037d6" is needle 1 of volume 3 with
// cookie 0x637037d6.
func ParseFileID(s string) (Request, error) {
	fail := func(why string) (Request, error) {
		return Request{}, fmt.Errorf("engine: file id %q: %s; it looks like 3,01637037d6", s, why)
	}
	vid, rest, ok := strings.Cut(s, ",")
	if !ok {
		return fail("there is no comma")
	}
	volume, err := strconv.ParseUint(vid, 10, 32)
	if err != nil {
		return fail("the volume before the comma is no number below 2^32")
	}
	key, delta, hasDelta := strings.Cut(rest, "_")
	if len(key) <= cookieDigits || len(key) > needleDigits+cookieDigits {
		return fail("after the comma come 1 to 16 digits of needle id and 8 of cookie")
	}
	split := len(key) - cookieDigits
	needle, err := strconv.ParseUint(key[:split], 16, 64)
	if err != nil {
		return fail("the needle id is not hexadecimal")
	}
	cookie, err := strconv.ParseUint(key[split:], 16, 32)
	if err != nil {
		return fail("the cookie is not hexadecimal")
	}
	if hasDelta {
		n, err := strconv.ParseUint(delta, 10, 64)
		if err != nil {
			return fail("after the underscore comes a decimal number")
		}
		if n > math.MaxUint64-needle {
			return fail("the number after the underscore is too large")
		}
		needle += n
	}
	return Request{Volume: uint32(volume), Needle: needle, Cookie: uint32(cookie)}, nil
}
