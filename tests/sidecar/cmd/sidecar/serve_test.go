package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestServeSaysWhereItListensServesAndStopsWhenTold(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "serve", "--listen", "127.0.0.1:0", "--engine", e.Socket, "--timeout", "30s", "--log", "requests")
	cmd.Env = append(os.Environ(), asCommand+"=1")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		t.Fatalf("%q, %v", line, err)
	}
	answer, err := http.Get(url + "/read?file_id=3,01637037d6&offset=1&size=3")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || string(body) != "ell" || answer.Header.Get("X-RDMA-Used") != "true" {
		t.Errorf("%s, %q, %v", answer.Status, body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(problems.String(), "result=served") {
		t.Errorf("%v, %q", err, problems.String())
	}
}

func TestServeSaysWhatIsWrongWithItsArguments(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		args []string
		says string
		code int
	}{
		{[]string{"extra"}, "usage: sidecar serve", exitUsage},
		{[]string{"--log", "everything"}, "requests", exitUsage},
		{[]string{"--http-only", "http://127.0.0.1:1", "--fallback-http", "http://127.0.0.1:1"}, "--http-only", exitUsage},
		{[]string{"--fallback-http", "127.0.0.1:8080"}, "http://10.0.0.1:8080", exitUsage},
		{[]string{"--max-requests", "-1"}, "negative", exitUsage},
		{[]string{"--token-file", "/nonexistent"}, "/nonexistent", exitUsage},
		{[]string{"--listen", "127.0.0.1"}, "HOST:PORT", exitFailed},
		{[]string{"--listen", "192.0.2.1:8081"}, "nobody is asked who they are", exitFailed},
	} {
		out, problems, code := sidecar(t, append([]string{"serve"}, x.args...)...)
		if len(out) != 0 || !strings.Contains(problems, x.says) || code != x.code {
			t.Errorf("%q: %q, %q, exit %d", x.args, out, problems, code)
		}
	}
	if _, help, code := sidecar(t, "serve", "-h"); code != exitOK || !strings.Contains(help, "weed mount") {
		t.Errorf("-h: %q, exit %d", help, code)
	}
}
