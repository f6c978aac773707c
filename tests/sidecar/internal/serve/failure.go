package serve

import (
	"context"
	"errors"
	"net/http"

	"rdma-engine/sidecar/engine"
)

// result is how a read ended, a label of the metrics.
type result string

const (
	served     result = "served"
	cut        result = "cut"
	badRequest result = "bad_request"
	notFound   result = "not_found"
	busy       result = "busy"
	engineDown result = "engine_down"
	failed     result = "failed"
	timedOut   result = "timeout"
	// The response was begun and could not be completed: the client took too long, or went.
	aborted result = "aborted"
	// The client went before there was a response.
	gone result = "gone"
)

var results = []result{served, cut, badRequest, notFound, busy, engineDown, failed, timedOut, aborted, gone}

// failure is how an error is answered.
type failure struct {
	status int
	result result
}

// failureOf decides by what the error of a read is.
func failureOf(err error) failure {
	var isCut *cutError
	var unreachable *unreachableError
	var refused *engine.Error
	switch {
	case errors.As(err, &isCut), errors.Is(err, errBehindEnd):
		return failure{http.StatusConflict, cut}
	case errors.Is(err, errNotStored):
		return failure{http.StatusNotFound, notFound}
	case errors.As(err, &refused):
		return failureOfCode(refused.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return failure{http.StatusGatewayTimeout, timedOut}
	case errors.Is(err, context.Canceled):
		return failure{http.StatusServiceUnavailable, gone}
	case errors.As(err, &unreachable):
		return failure{http.StatusServiceUnavailable, engineDown}
	}
	return failure{http.StatusBadGateway, failed}
}

func failureOfCode(code engine.Code) failure {
	switch code {
	case engine.NeedleNotFound, engine.VolumeNotFound, engine.CookieMismatch:
		return failure{http.StatusNotFound, notFound}
	case engine.InvalidRequest:
		// What is left after parsing: the piece begins behind the needle's end, or the needle can not be read so.
		return failure{http.StatusConflict, cut}
	case engine.TransferTooLarge:
		return failure{http.StatusBadRequest, badRequest}
	case engine.ResourceExhausted, engine.TooManySessions:
		return failure{http.StatusServiceUnavailable, busy}
	case engine.ShuttingDown:
		return failure{http.StatusServiceUnavailable, engineDown}
	case engine.NetworkTimeout:
		return failure{http.StatusGatewayTimeout, timedOut}
	}
	return failure{http.StatusBadGateway, failed}
}

// fallBack reports whether SeaweedFS's HTTP may do better. What was asked for wrongly, or reaches the needle's end,
// is refused there just the same.
func (f failure) fallBack() bool {
	switch f.result {
	case cut, badRequest, gone:
		return false
	}
	return true
}
