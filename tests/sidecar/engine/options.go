package engine

import (
	"cmp"
	"errors"
	"time"
)

// Defaults of [Options].
const (
	DefaultMaxConns      = 16
	DefaultDialTimeout   = 5 * time.Second
	DefaultTimeout       = 30 * time.Second
	DefaultCompleteDelay = 2 * time.Millisecond
)

// Options says how to reach an engine. Only Socket is needed.
type Options struct {
	// Socket is the path of the engine's Unix socket.
	Socket string
	// MaxConns is how many requests may be under way at once; a call that finds them all taken
	// waits its turn. The Client opens one connection more, which keeps its leases alive and
	// carries CompleteReads no StartRead took along. 0 means DefaultMaxConns.
	MaxConns int
	// Token is the shared secret of an engine that has one configured.
	Token string
	// ClientID names this client in the engine's logs.
	ClientID string
	// DialTimeout bounds connecting and attaching the pool. 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// Timeout bounds a call whose context has no deadline, the wait for a connection included.
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// CompleteDelay is how long a CompleteRead may wait for a StartRead to travel with before it
	// is sent alone; its buffer stays taken meanwhile. 0 means DefaultCompleteDelay.
	CompleteDelay time.Duration
	// VerifyCRC makes every read compute the CRC-32C of its bytes and compare it with the one
	// the engine computed when they landed.
	VerifyCRC bool
	// OnCompleteError, if set, is told of every CompleteRead that failed: a checksum the engine
	// does not agree with, a lease that had expired. It is called from the goroutine that
	// received the reply and must not block or call the Client.
	OnCompleteError func(error)
}

func (o Options) withDefaults() (Options, error) {
	if o.Socket == "" {
		return o, errors.New("engine: Options.Socket is empty; give the path of the engine's Unix socket (its --ipc-socket)")
	}
	if o.MaxConns < 0 || o.DialTimeout < 0 || o.Timeout < 0 || o.CompleteDelay < 0 {
		return o, errors.New("engine: a negative number in Options; leave a field 0 for its default")
	}
	o.MaxConns = cmp.Or(o.MaxConns, DefaultMaxConns)
	o.DialTimeout = cmp.Or(o.DialTimeout, DefaultDialTimeout)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.CompleteDelay = cmp.Or(o.CompleteDelay, DefaultCompleteDelay)
	return o, nil
}
