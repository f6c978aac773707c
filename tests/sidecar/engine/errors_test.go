package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

// wantCode checks that err is the engine's error of this code, by errors.Is and errors.As.
func wantCode(t *testing.T, err error, code Code, category string, recoverable bool) {
	t.Helper()
	var refused *Error
	if !errors.Is(err, code) || !errors.As(err, &refused) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if refused.Category != category || refused.Recoverable != recoverable || refused.Message == "" {
		t.Errorf("%s is %+v", code, refused)
	}
	if errors.Is(err, Internal) {
		t.Errorf("%v is also INTERNAL", err)
	}
}

func TestWhatCanNotBeReadIsRefusedByItsCode(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	hello := own(helloNeedle)
	with := func(change func(*Request)) Request {
		r := hello
		change(&r)
		return r
	}
	for name, x := range map[string]struct {
		request  Request
		code     Code
		category string
	}{
		"unknown needle":      {with(func(r *Request) { r.Needle = 99 }), NeedleNotFound, "request"},
		"unknown volume":      {with(func(r *Request) { r.Volume = 99 }), VolumeNotFound, "request"},
		"wrong cookie":        {with(func(r *Request) { r.Cookie++ }), CookieMismatch, "request"},
		"offset at the end":   {with(func(r *Request) { r.Offset = 5 }), InvalidRequest, "request"},
		"offset past the end": {with(func(r *Request) { r.Offset = 1 << 63 }), InvalidRequest, "request"},
		"corrupt needle":      {own(corruptNeedle), ChecksumMismatch, "integrity"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Read(context.Background(), x.request)
			wantCode(t, err, x.code, x.category, false)
			_, err = c.ReadAll(context.Background(), x.request)
			wantCode(t, err, x.code, x.category, false)
			_, err = c.ReadInto(context.Background(), x.request, make([]byte, 10))
			wantCode(t, err, x.code, x.category, false)
		})
	}
	if s := c.Stats(); s.OpenConns != 1 || s.Dials != 2 {
		t.Errorf("errors cost connections: %+v", s)
	}
	awaitNoSessions(t, e)
}

func TestADeletedNeedleIsNotFound(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{})
	_, err := c.Read(context.Background(), Request{Volume: realVolume, Needle: 20, Cookie: 0x3b2e4ea7})
	wantCode(t, err, NeedleNotFound, "request", false)
}

func TestTooManySessionsAreRefusedUntilOneEnds(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t, "--max-sessions", "2"), Options{})
	first, second := read(t, c, small(1)), read(t, c, small(2))
	_, err := c.Read(context.Background(), small(3))
	wantCode(t, err, TooManySessions, "session", true)
	first.Close()
	read(t, c, small(3)).Close()
	second.Close()
}

func TestAPeerThatDoesNotExistHasNoRoute(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t), Options{})
	remote, peer := own(helloNeedle), own(helloNeedle)
	remote.RemoteAddr, remote.RemoteKey, remote.Size = 1<<32, 7, 4096
	peer.Peer = "nobody"
	for _, r := range []Request{remote, peer} {
		_, err := c.Read(context.Background(), r)
		wantCode(t, err, NoRoute, "network", true)
		_, err = c.ReadAll(context.Background(), r)
		wantCode(t, err, NoRoute, "network", true)
	}
}

func TestAConnectionTheEngineRefusesIsExplained(t *testing.T) {
	t.Parallel()
	c := open(t, startEngine(t, "--max-connections", "1"), Options{})
	_, err := c.Read(context.Background(), own(helloNeedle))
	wantCode(t, err, ResourceExhausted, "resource", true)
}

func TestWithoutTheTokenNothingIsGiven(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, "--auth-token-file", file)
	for _, token := range []string{"", "wrong"} {
		c, err := Open(context.Background(), Options{Socket: e.Socket, Token: token})
		if err == nil {
			c.Close()
		}
		wantCode(t, err, Unauthenticated, "security", false)
	}
	c := open(t, e, Options{Token: "s3cret"})
	read(t, c, own(helloNeedle)).Close()
}

func TestWhereNoEngineListensOpenSaysSo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	_, err := Open(ctx, Options{Socket: filepath.Join(dir, "none.sock")})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--ipc-socket") {
		t.Errorf("no socket: %v", err)
	}

	stale := filepath.Join(dir, "stale.sock")
	l := listen(t, stale)
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Open(ctx, Options{Socket: stale}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stale socket: %v", err)
	}
	if _, err := Open(ctx, Options{}); err == nil {
		t.Error("no socket given, and no error")
	}
	if _, err := Open(ctx, Options{Socket: stale, MaxConns: -1}); err == nil {
		t.Error("-1 connections, and no error")
	}
}

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.UnixListener)
}

func TestAProgramThatIsNoEngineIsRecognised(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mail.sock")
	l := listen(t, path)
	go func() {
		for {
			sock, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(sock, "220 mail.example.org ESMTP ready\r\n")
			defer sock.Close()
		}
	}()
	_, err := Open(context.Background(), Options{Socket: path})
	if err == nil || !strings.Contains(err.Error(), "is it an rdma-engine") {
		t.Errorf("a mail server: %v", err)
	}
}

func TestAProgramThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "silent.sock")
	listen(t, path)
	_, err := Open(context.Background(), Options{Socket: path, DialTimeout: 50 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after DialTimeout: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := Open(ctx, Options{Socket: path}); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestAnEngineThatIsStoppingSaysSo(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	c := open(t, e, Options{})
	view := read(t, c, own(helloNeedle))
	if err := e.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Until it is gone it refuses reads; afterwards nobody listens.
	await(t, "reads are refused", func() bool {
		v, err := c.Read(context.Background(), own(helloNeedle))
		if err == nil {
			v.Close()
		}
		return errors.Is(err, ShuttingDown) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
	})
	if string(view.Bytes()) != "hello" {
		t.Error("the view changed")
	}
	view.Close()
}

func TestTheErrorsOfACodeAreToldApart(t *testing.T) {
	err := error(&Error{Code: NeedleNotFound, Message: "m"})
	if !errors.Is(err, NeedleNotFound) || errors.Is(err, VolumeNotFound) || errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	if err.Error() != "engine: NEEDLE_NOT_FOUND: m" {
		t.Error(err)
	}
}

func TestACorruptNeedleCostsNoLease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := enginetest.NewVolume()
	v.PutCorrupt(1, cookie, randomBytes(1, 1<<20))
	if err := v.Write(dir, "", ownVolume); err != nil {
		t.Fatal(err)
	}
	e := enginetest.Start(t, dir)
	c := open(t, e, Options{})
	for range 200 { // 200 MiB, where the pool has 64
		if _, err := c.Read(context.Background(), own(1)); !errors.Is(err, ChecksumMismatch) {
			t.Fatal(err)
		}
	}
	awaitNoSessions(t, e)
}
