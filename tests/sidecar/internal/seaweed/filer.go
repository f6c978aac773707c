package seaweed

import (
	"context"
	"net/http"
	"net/url"
)

// Filer is a client of a filer's HTTP API. It may be used by several goroutines.
type Filer struct {
	url  string
	http *Client
}

// NewFiler makes a client of the filer that answers at the URL base, with up to conns idle connections.
func NewFiler(base string, conns int) *Filer { return &Filer{url: base, http: New(base, conns)} }

// Chunk is a piece of a file as the filer's entry has it: a needle, and where its data lies in the file.
type Chunk struct {
	FileID       string `json:"file_id"`
	Offset, Size int64
	Compressed   bool `json:"is_compressed"`
	// CipherKey, if there, is what the needle's data is encrypted with.
	CipherKey []byte `json:"cipher_key"`
}

// Put stores data as the file path, cut into chunks by the filer.
func (f *Filer) Put(ctx context.Context, path, mime string, data []byte) error {
	return f.http.call(ctx, http.MethodPut, f.at(path, ""), mime, data, nil)
}

// Append stores data in new chunks at the end of the file path.
func (f *Filer) Append(ctx context.Context, path, mime string, data []byte) error {
	return f.http.call(ctx, http.MethodPut, f.at(path, "op=append"), mime, data, nil)
}

// Chunks returns the chunks of the file path in the order the filer lists them.
func (f *Filer) Chunks(ctx context.Context, path string) ([]Chunk, error) {
	var entry struct{ Chunks []Chunk }
	err := f.http.call(ctx, http.MethodGet, f.at(path, "metadata=true"), "", nil, &entry)
	return entry.Chunks, err
}

func (f *Filer) at(path, query string) string {
	return f.url + (&url.URL{Path: path, RawQuery: query}).String()
}
