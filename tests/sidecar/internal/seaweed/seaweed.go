// Package seaweed is a small client of SeaweedFS's HTTP API: it stores, reads and deletes needles, so that what
// the engine reads can be compared with what SeaweedFS itself hands out.
package seaweed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Client talks to one cluster. It may be used by several goroutines.
type Client struct {
	master string
	http   *http.Client
}

// New makes a client of the cluster whose master answers at the URL master. It keeps up to conns idle
// connections to each server, asks for no compression and uses no proxy.
func New(master string, conns int) *Client {
	transport := &http.Transport{
		DisableCompression:  true,
		MaxIdleConns:        conns,
		MaxIdleConnsPerHost: conns,
		ReadBufferSize:      64 << 10,
	}
	return &Client{master: strings.TrimSuffix(master, "/"), http: &http.Client{Transport: transport}}
}

// File is what is to be stored.
type File struct {
	// Name is the file name SeaweedFS keeps; with MIME it decides whether SeaweedFS compresses the data.
	Name, MIME string
	// Data is sent as it is.
	Data []byte
	// Encoding is "gzip" to have SeaweedFS mark the needle as compressed already, or empty. SeaweedFS looks
	// at this mark alone, not at which compression it is.
	Encoding string
	// Collection and TTL ("3m", "1h") may be empty.
	Collection, TTL string
}

// Needle is a stored blob: its file id, and the URL its volume server gives it out at.
type Needle struct {
	ID, URL string
}

// Store has the master choose a volume and stores f in it.
func (c *Client) Store(ctx context.Context, f File) (Needle, error) {
	needle, err := c.Assign(ctx, f)
	if err != nil {
		return Needle{}, err
	}
	return needle, c.Put(ctx, needle, f)
}

// Assign has the master choose a volume and an id for f.
func (c *Client) Assign(ctx context.Context, f File) (Needle, error) {
	var assigned struct{ Fid, URL, Error string }
	if err := c.call(ctx, http.MethodGet, c.master+"/dir/assign?"+f.place().Encode(), "", nil, &assigned); err != nil {
		return Needle{}, err
	}
	if assigned.Error != "" || assigned.Fid == "" {
		return Needle{}, fmt.Errorf("asking %s for a place for %s: %q", c.master, f.Name, assigned.Error)
	}
	return Needle{ID: assigned.Fid, URL: "http://" + assigned.URL + "/" + assigned.Fid}, nil
}

// Put stores f as n, over whatever is there.
func (c *Client) Put(ctx context.Context, n Needle, f File) error {
	contentType, body, err := form(f)
	if err != nil {
		return err
	}
	var stored struct{ Error string }
	// The volume server takes the TTL from here; for the master it only chose the volume.
	if err := c.call(ctx, http.MethodPost, n.URL+"?"+f.place().Encode(), contentType, body, &stored); err != nil {
		return err
	}
	if stored.Error != "" {
		return fmt.Errorf("storing %s as %s: %s", f.Name, n.ID, stored.Error)
	}
	return nil
}

// place is what decides in which volume f can be.
func (f File) place() url.Values {
	place := url.Values{}
	if f.Collection != "" {
		place.Set("collection", f.Collection)
	}
	if f.TTL != "" {
		place.Set("ttl", f.TTL)
	}
	return place
}

// Vacuum compacts the volumes of which more than the share threshold, 0 to 1, is garbage, and returns when it is done.
func (c *Client) Vacuum(ctx context.Context, threshold float64) error {
	return c.call(ctx, http.MethodGet, fmt.Sprintf("%s/vol/vacuum?garbageThreshold=%g", c.master, threshold), "", nil, nil)
}

// form is f as a browser's upload.
func form(f File) (contentType string, body []byte, err error) {
	var buffer bytes.Buffer
	writer := multipart.NewWriter(&buffer)
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename=%q`, f.Name))
	header.Set("Content-Type", f.MIME)
	if f.Encoding != "" {
		header.Set("Content-Encoding", f.Encoding)
	}
	part, err := writer.CreatePart(header)
	if err != nil {
		return "", nil, err
	}
	if _, err := part.Write(f.Data); err != nil {
		return "", nil, err
	}
	if err := writer.Close(); err != nil { // writes the last boundary
		return "", nil, err
	}
	return writer.FormDataContentType(), buffer.Bytes(), nil
}

// Lookup returns the needle with this file id, at a volume server the master names.
func (c *Client) Lookup(ctx context.Context, id string) (Needle, error) {
	var found struct {
		Locations []struct{ URL string }
	}
	if err := c.call(ctx, http.MethodGet, c.master+"/dir/lookup?"+url.Values{"volumeId": {id}}.Encode(), "", nil, &found); err != nil {
		return Needle{}, err
	}
	if len(found.Locations) == 0 {
		return Needle{}, fmt.Errorf("%s knows no server with the volume of %s", c.master, id)
	}
	return Needle{ID: id, URL: "http://" + found.Locations[0].URL + "/" + id}, nil
}

// Delete deletes n.
func (c *Client) Delete(ctx context.Context, n Needle) error {
	return c.call(ctx, http.MethodDelete, n.URL, "", nil, nil)
}

// call sends one request and, with answer, decodes the JSON that comes back.
func (c *Client) call(ctx context.Context, method, url, contentType string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// NotFoundError is SeaweedFS's answer for a needle it does not have, or whose cookie is another.
type NotFoundError struct{ URL string }

func (e *NotFoundError) Error() string { return e.URL + ": 404 Not Found" }

// ReadInto reads n's bytes into p from its start, over a connection that is kept. p must be as long as the
// needle's data: a shorter or longer answer is an error.
func (c *Client) ReadInto(ctx context.Context, n Needle, p []byte) error {
	response, err := c.get(ctx, n, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.ContentLength != int64(len(p)) {
		return fmt.Errorf("GET %s: Content-Length is %d, not %d", n.URL, response.ContentLength, len(p))
	}
	_, err = io.ReadFull(response.Body, p)
	return err
}

// Read reads all of n.
func (c *Client) Read(ctx context.Context, n Needle) ([]byte, error) {
	body, _, err := c.read(ctx, n, nil)
	return body, err
}

// ReadRange reads size bytes of n from offset on; size must not be 0 and at least one byte must be there.
func (c *Client) ReadRange(ctx context.Context, n Needle, offset, size uint64) ([]byte, error) {
	body, _, err := c.read(ctx, n, http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", offset, offset+size-1)}})
	return body, err
}

// ReadStored reads n as it is stored, for a client that takes gzip: encoding is "gzip" when it is compressed so.
func (c *Client) ReadStored(ctx context.Context, n Needle) (body []byte, encoding string, err error) {
	return c.read(ctx, n, http.Header{"Accept-Encoding": {"gzip"}})
}

func (c *Client) read(ctx context.Context, n Needle, header http.Header) ([]byte, string, error) {
	response, err := c.get(ctx, n, header)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", fmt.Errorf("GET %s: %w", n.URL, err)
	}
	return body, response.Header.Get("Content-Encoding"), nil
}

// get asks for n and leaves the body, which the caller closes.
func (c *Client) get(ctx context.Context, n Needle, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return response, nil
	case http.StatusNotFound:
		err = &NotFoundError{URL: n.URL}
	default:
		err = fmt.Errorf("GET %s: %s", n.URL, response.Status)
	}
	response.Body.Close()
	return nil, err
}
