package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// volumeServers reads pieces over SeaweedFS's own HTTP, from servers the operator named and from no others: a
// request's volume_server only chooses among them.
type volumeServers struct {
	// Each as http://HOST:PORT.
	allowed []string
	// What the responses say about having used the engine. Where there is none, it is a lie without which the mount
	// would not use the bytes; see [Options.Engine].
	used string
	http *http.Client
}

func newVolumeServers(o Options) (*volumeServers, error) {
	for _, text := range o.VolumeServers {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || text != "http://"+u.Host {
			return nil, fmt.Errorf("volume server %q: it has to look like http://10.0.0.1:8080, with nothing after the port", text)
		}
	}
	transport := &http.Transport{
		DisableCompression:     true,
		MaxIdleConnsPerHost:    o.MaxRequests,
		MaxConnsPerHost:        o.MaxRequests,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         64 << 10,
	}
	used := strconv.FormatBool(o.Engine.Socket == "")
	return &volumeServers{allowed: o.VolumeServers, used: used, http: &http.Client{
		Transport: transport,
		// A redirect would lead to a server nobody allowed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// choose returns the server a piece is to be read from.
func (v *volumeServers) choose(wanted string) (string, error) {
	if wanted == "" && len(v.allowed) == 1 {
		return v.allowed[0], nil
	}
	if i := slices.Index(v.allowed, strings.TrimSuffix(wanted, "/")); i >= 0 {
		return v.allowed[i], nil
	}
	return "", fmt.Errorf("volume_server=%.100q is none of the servers allowed: %s", wanted, strings.Join(v.allowed, ", "))
}

// open asks for a piece and checks the answer's header. The limit is on that alone; ctx ends the whole transfer.
func (v *volumeServers) open(ctx context.Context, p *piece, limit time.Duration) (payload, error) {
	server, err := v.choose(p.volumeServer)
	if err != nil {
		return nil, err
	}
	target := server + "/" + p.fileID()
	transfer, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	response, err := v.ask(transfer, target, p)
	if !timer.Stop() && err == nil {
		response.Body.Close()
		err = transfer.Err()
	}
	if err != nil {
		if cause := context.Cause(transfer); cause != nil {
			err = fmt.Errorf("GET %s: %w", target, cause)
		}
		cancel(nil)
		return nil, err
	}
	return &ranged{body: response.Body, size: int64(p.Size), used: v.used, cancel: cancel}, nil
}

// ask returns a response whose body is the piece.
func (v *volumeServers) ask(ctx context.Context, target string, p *piece) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p.Offset, p.Offset+p.Size-1))
	response, err := v.http.Do(request)
	if err != nil {
		return nil, err
	}
	if err := checkRange(response, p); err != nil {
		response.Body.Close()
		return nil, fmt.Errorf("GET %s: %w", target, err)
	}
	return response, nil
}

// checkRange accepts a 206 with exactly the range asked for.
func checkRange(response *http.Response, p *piece) error {
	switch response.StatusCode {
	case http.StatusPartialContent:
	case http.StatusNotFound:
		return errNotStored
	case http.StatusRequestedRangeNotSatisfiable:
		return errBehindEnd
	default:
		return fmt.Errorf("it answers %s", response.Status)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" {
		return fmt.Errorf("it sends the range as %.40q", encoding)
	}
	var first, last, total uint64
	header := response.Header.Get("Content-Range")
	if n, err := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &total); n != 3 || err != nil ||
		header != fmt.Sprintf("bytes %d-%d/%d", first, last, total) || first != p.Offset || last < first || last >= total {
		return fmt.Errorf("asked for %d bytes from %d on, it answers with Content-Range %.100q", p.Size, p.Offset, header)
	}
	brought := last - first + 1
	if response.ContentLength < 0 || uint64(response.ContentLength) != brought {
		return fmt.Errorf("Content-Length %d does not fit Content-Range %s", response.ContentLength, header)
	}
	return p.check(total, brought)
}

var (
	// errNotStored is a needle the volume server does not have.
	errNotStored = errors.New("it has no such needle")
	// errBehindEnd is a piece with nothing in it.
	errBehindEnd = errors.New("the piece begins behind the needle's end")
)

// ranged is a piece on its way from a volume server.
type ranged struct {
	body   io.ReadCloser
	size   int64
	used   string
	cancel context.CancelCauseFunc
}

func (r *ranged) describe(h http.Header) {
	h.Set(headerUsed, r.used)
	h.Set(headerTransport, "http")
	h.Set(headerVerified, "false")
}

func (r *ranged) source() source { return sourceHTTP }

// send passes the bytes on. Where fewer come than were announced, the response stays short, too.
func (r *ranged) send(w http.ResponseWriter, until time.Time) error {
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(until); err != nil {
		return err
	}
	stop := time.AfterFunc(time.Until(until), func() { r.cancel(context.DeadlineExceeded) })
	defer stop.Stop()
	if _, err := io.CopyN(w, r.body, r.size); err != nil {
		return err
	}
	return out.Flush()
}

func (r *ranged) close() {
	r.body.Close()
	r.cancel(nil)
}
