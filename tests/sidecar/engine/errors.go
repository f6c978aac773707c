package engine

import (
	"errors"
	"fmt"
)

// Code is the stable name of a reason why the engine refused or failed a request. Every Code is
// an error value, so that errors.Is(err, engine.NeedleNotFound) tells whether err is, or wraps,
// an [Error] of that code. A code this package has no constant for is kept as the engine sent it.
type Code string

// The codes of the protocol, by category.
const (
	// Category "request": the same request will fail again.
	InvalidRequest     Code = "INVALID_REQUEST"
	UnsupportedMessage Code = "UNSUPPORTED_MESSAGE"
	NeedleNotFound     Code = "NEEDLE_NOT_FOUND"
	VolumeNotFound     Code = "VOLUME_NOT_FOUND"
	CookieMismatch     Code = "COOKIE_MISMATCH"

	// Category "session".
	SessionNotFound Code = "SESSION_NOT_FOUND"
	SessionExpired  Code = "SESSION_EXPIRED"
	TooManySessions Code = "TOO_MANY_SESSIONS"

	// Category "resource".
	ResourceExhausted        Code = "RESOURCE_EXHAUSTED"
	TransferTooLarge         Code = "TRANSFER_TOO_LARGE"
	MemoryRegistrationFailed Code = "MEMORY_REGISTRATION_FAILED"

	// Category "rdma".
	RDMAOperationFailed Code = "RDMA_OPERATION_FAILED"

	// Category "network".
	PeerUnavailable Code = "PEER_UNAVAILABLE"
	NetworkTimeout  Code = "NETWORK_TIMEOUT"
	NoRoute         Code = "NO_ROUTE"

	// Category "hardware".
	DeviceNotFound      Code = "DEVICE_NOT_FOUND"
	UnsupportedHardware Code = "UNSUPPORTED_HARDWARE"

	// Category "integrity".
	ChecksumMismatch Code = "CHECKSUM_MISMATCH"
	CorruptNeedle    Code = "CORRUPT_NEEDLE"
	CorruptVolume    Code = "CORRUPT_VOLUME"

	// Category "security".
	PermissionDenied Code = "PERMISSION_DENIED"
	Unauthenticated  Code = "UNAUTHENTICATED"

	// Category "ipc".
	MalformedMessage Code = "MALFORMED_MESSAGE"
	MessageTooLarge  Code = "MESSAGE_TOO_LARGE"

	// Category "system".
	IOError      Code = "IO_ERROR"
	ShuttingDown Code = "SHUTTING_DOWN"
	Internal     Code = "INTERNAL"
)

// Error makes a Code a target for errors.Is.
func (c Code) Error() string { return string(c) }

// Error is a request the engine answered with an error.
type Error struct {
	// Code is the stable reason.
	Code Code
	// Message says what was being done, to what, and what to try.
	Message string
	// Category is the group the code belongs to.
	Category string
	// Recoverable is whether the same request may succeed later without being changed.
	Recoverable bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("engine: %s: %s", e.Code, e.Message)
}

// Is reports whether target is the error's [Code].
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

var (
	// ErrExpired is returned when bytes may have been read after the engine was free to reuse
	// their buffer. What was read has to be thrown away.
	ErrExpired = errors.New("engine: the lease on the buffer had expired; read again, with a longer Timeout if this is common")
	// ErrClosed is returned by every call on a closed Client.
	ErrClosed = errors.New("engine: the client is closed")
)
