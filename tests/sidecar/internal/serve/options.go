package serve

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"time"

	"rdma-engine/sidecar/engine"
)

// Defaults of [Options].
const (
	DefaultMaxRequests = 256
	DefaultMaxSize     = 16 << 20
	// Under the 5 s after which the mount itself gives up (-rdma.timeoutMs).
	DefaultTimeout      = 4 * time.Second
	DefaultWriteTimeout = 10 * time.Second
	DefaultStopTimeout  = 10 * time.Second
)

// Options says what to serve from, and within which bounds.
type Options struct {
	// Engine says how to reach the engine; without a Socket there is none, and every piece is read over HTTP.
	Engine engine.Options
	// VolumeServers, as http://HOST:PORT, are those that may be read over HTTP when the engine fails. A request
	// can choose among them, and name no other.
	VolumeServers []string
	// MaxRequests is how many reads may be under way at once; more are refused. 0 means DefaultMaxRequests.
	MaxRequests int
	// MaxSize is the most bytes of one read; the engine's largest transfer bounds it, too. 0 means DefaultMaxSize.
	MaxSize uint64
	// Timeout is how long the engine may take to answer a read, and how long a volume server may. 0 means
	// DefaultTimeout.
	Timeout time.Duration
	// WriteTimeout is how long a client may take to receive what it asked for. 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration
	// StopTimeout is how long requests under way may take when the server stops. 0 means DefaultStopTimeout.
	StopTimeout time.Duration
	// LogRequests writes a line to Log for every read.
	LogRequests bool
	// Log is where to say what happens; nil says nothing.
	Log *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Engine.Socket == "" && len(o.VolumeServers) == 0 {
		return o, errors.New("neither an engine nor a volume server to read from is named")
	}
	if o.MaxRequests < 0 || o.Timeout < 0 || o.WriteTimeout < 0 || o.StopTimeout < 0 {
		return o, errors.New("a limit is negative")
	}
	o.MaxRequests = cmp.Or(o.MaxRequests, DefaultMaxRequests)
	o.MaxSize = cmp.Or(o.MaxSize, DefaultMaxSize)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, DefaultWriteTimeout)
	o.StopTimeout = cmp.Or(o.StopTimeout, DefaultStopTimeout)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o, nil
}
