package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rdma-engine/sidecar/engine"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer may be written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// volumeServer answers with a range of chunkData, as SeaweedFS does.
func volumeServer(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	if answer == nil {
		answer = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/"+fileID(chunkNeedle) {
				http.NotFound(w, r)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(chunkData()))
		}
	}
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

// noEngine is the path of a socket nobody listens on.
func noEngine(t *testing.T) engine.Options { return engine.Options{Socket: t.TempDir() + "/none"} }

func TestWithoutBeingAskedNothingIsReadOverHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Engine: noEngine(t)})
	url := volumeServer(t, func(http.ResponseWriter, *http.Request) { t.Error("it is asked") })
	if got := s.get(t, query(chunkNeedle, 0, 10)+"&volume_server="+url); got.status != http.StatusServiceUnavailable {
		t.Errorf("status %d", got.status)
	}
}

func TestWhenAskedWhatTheEngineFailsIsReadOverHTTPAndSaysSo(t *testing.T) {
	t.Parallel()
	url := volumeServer(t, nil)
	s := start(t, Options{Engine: noEngine(t), VolumeServers: []string{url}})
	got := s.get(t, query(chunkNeedle, 100, 70000)+"&volume_server="+url)
	if got.status != http.StatusOK || !bytes.Equal(got.body, chunkData()[100:70100]) ||
		got.header.Get("X-RDMA-Used") != "false" || got.header.Get("X-RDMA-Transport") != "http" {
		t.Errorf("status %d, %d bytes, %v", got.status, len(got.body), got.header)
	}
	s.awaitCount(t, served, 1)
	if n := s.value(t, "sidecar_fallbacks_total", "success"); n != 1 {
		t.Errorf("%v fallbacks are counted", n)
	}
	for _, p := range [][2]int{{chunkBytes - 1, 1}, {chunkBytes - 10, 20}, {chunkBytes, 1}} {
		if got := s.read(t, chunkNeedle, p[0], p[1]); got.status != http.StatusConflict {
			t.Errorf("%v: status %d, %q", p, got.status, got.body)
		}
	}
	if got := s.read(t, 999, 0, 1); got.status != http.StatusNotFound {
		t.Errorf("no such needle: status %d", got.status)
	}
}

func TestWhatTheEngineServesOrCutsIsNotAskedOverHTTP(t *testing.T) {
	t.Parallel()
	url := volumeServer(t, func(http.ResponseWriter, *http.Request) { t.Error("it is asked") })
	s := start(t, Options{Engine: engine.Options{Socket: startEngine(t).Socket}, Timeout: patience, VolumeServers: []string{url}})
	if got := s.read(t, chunkNeedle, 0, 10); got.status != http.StatusOK || got.header.Get("X-RDMA-Used") != "true" {
		t.Errorf("status %d, %v", got.status, got.header)
	}
	for _, path := range []string{query(chunkNeedle, chunkBytes-1, 1), query(chunkNeedle, chunkBytes, 1)} {
		if got := s.get(t, path); got.status != http.StatusConflict {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
}

func TestOnlyServersTheOperatorNamedAreAsked(t *testing.T) {
	t.Parallel()
	var asked int
	secret := volumeServer(t, func(http.ResponseWriter, *http.Request) { asked++ })
	redirecting := volumeServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret+"/x", http.StatusFound) })
	s := start(t, Options{Engine: noEngine(t), VolumeServers: []string{redirecting, "http://127.0.0.1:1"}})
	for _, server := range []string{secret, redirecting, redirecting + "@" + secret[len("http://"):], redirecting + "/../", "", "http://127.0.0.1:1%23"} {
		got := s.get(t, query(chunkNeedle, 0, 1)+"&volume_server="+server)
		if got.status != http.StatusBadGateway {
			t.Errorf("%q: status %d, %q", server, got.status, got.body)
		}
	}
	if asked != 0 {
		t.Errorf("%d requests went where they must not", asked)
	}
}

func TestAVolumeServerThatLiesIsNotBelieved(t *testing.T) {
	t.Parallel()
	send := func(status int, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(status)
			w.Write(body)
		}
	}
	ten := []byte("0123456789")
	for name, x := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"the truth":               {send(206, "bytes 0-9/100", ten), http.StatusOK},
		"all of it":               {send(200, "", ten), http.StatusBadGateway},
		"no range":                {send(206, "", ten), http.StatusBadGateway},
		"another start":           {send(206, "bytes 1-10/100", ten), http.StatusBadGateway},
		"less":                    {send(206, "bytes 0-8/100", ten[:9]), http.StatusBadGateway},
		"less than announced":     {send(206, "bytes 0-9/100", ten[:9]), http.StatusBadGateway},
		"more":                    {send(206, "bytes 0-10/100", append(ten, 'x')), http.StatusBadGateway},
		"up to the end":           {send(206, "bytes 0-9/10", ten), http.StatusConflict},
		"beyond the end":          {send(206, "bytes 0-9/5", ten), http.StatusBadGateway},
		"an unknown length":       {send(206, "bytes 0-9/*", ten), http.StatusBadGateway},
		"something after it":      {send(206, "bytes 0-9/100 and more", ten), http.StatusBadGateway},
		"backwards":               {send(206, "bytes 9-0/100", ten), http.StatusBadGateway},
		"a number without an end": {send(206, "bytes 0-9/"+strings.Repeat("9", 40), ten), http.StatusBadGateway},
		"no needle":               {send(404, "", nil), http.StatusNotFound},
		"nothing there":           {send(416, "", nil), http.StatusConflict},
		"an error":                {send(500, "", nil), http.StatusBadGateway},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			send(206, "bytes 0-9/100", ten)(w, r)
		}, http.StatusBadGateway},
	} {
		s := start(t, Options{VolumeServers: []string{volumeServer(t, x.answer)}})
		got := s.read(t, chunkNeedle, 0, 10)
		if got.status != x.status || got.status == http.StatusOK && string(got.body) != string(ten) {
			t.Errorf("%s: status %d, %q", name, got.status, got.body)
		}
	}
}

func TestAVolumeServerThatBreaksOffLeavesTheResponseShort(t *testing.T) {
	t.Parallel()
	breaking := volumeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-9999/100000")
		w.Header().Set("Content-Length", "10000")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(make([]byte, 5000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := start(t, Options{VolumeServers: []string{breaking}})
	if got := beSluggish(t, s, query(chunkNeedle, 0, 10000)).rest(); len(got) >= 10000 {
		t.Errorf("%d bytes came", len(got))
	}
	s.awaitCount(t, aborted, 1)
}

func TestAVolumeServerThatStallsIsATimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := volumeServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	s := start(t, Options{VolumeServers: []string{url}, Timeout: 200 * time.Millisecond})
	if got := s.read(t, chunkNeedle, 0, 10); got.status != http.StatusGatewayTimeout {
		t.Errorf("status %d, %q", got.status, got.body)
	}
}

func TestWithoutAnEngineTheMountIsToldThatThereIsOne(t *testing.T) {
	t.Parallel()
	s := start(t, Options{VolumeServers: []string{volumeServer(t, nil)}})
	status, health := healthOf(t, s)
	if status != http.StatusOK || health.Status != "healthy" || !health.RDMA.Enabled || health.RDMA.Connected {
		t.Errorf("status %d with %+v", status, health)
	}
	got := s.read(t, chunkNeedle, 5, 10)
	if got.status != http.StatusOK || got.header.Get("X-RDMA-Used") != "true" || got.header.Get("X-RDMA-Transport") != "http" ||
		!bytes.Equal(got.body, chunkData()[5:15]) {
		t.Errorf("status %d, %v", got.status, got.header)
	}
	if got := s.read(t, chunkNeedle, chunkBytes-10, 10); got.status != http.StatusConflict {
		t.Errorf("at the end: status %d", got.status)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{},
		{Engine: noEngine(t), MaxRequests: -1},
		{Engine: noEngine(t), Timeout: -1},
		{VolumeServers: []string{""}},
		{VolumeServers: []string{"127.0.0.1:8080"}},
		{VolumeServers: []string{"https://127.0.0.1:8080"}},
		{VolumeServers: []string{"http://127.0.0.1:8080/"}},
		{VolumeServers: []string{"http://127.0.0.1:8080?x"}},
		{VolumeServers: []string{"http://user@127.0.0.1:8080"}},
		{VolumeServers: []string{"http://127.0.0.1:8080", "http://"}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
