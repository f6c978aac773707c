package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rdma-engine/sidecar/internal/enginetest"
)

// The test binary is the command when this is set, so that the tests run the command itself.
const asCommand = "SIDECAR_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// sidecar runs the command and returns what it wrote and its exit code.
func sidecar(t *testing.T, args ...string) (stdout []byte, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.Bytes(), problems.String(), cmd.ProcessState.ExitCode()
}

func startEngine(t *testing.T, args ...string) *enginetest.Engine {
	t.Helper()
	dir := t.TempDir()
	v := enginetest.NewVolume()
	v.Put(1, 0x637037d6, []byte("hello"))
	v.Put(2, 0x637037d6, bytes.Repeat([]byte("large"), 5<<20))
	v.PutCorrupt(3, 0x637037d6, []byte("damaged"))
	v.Put(4, 0x637037d6, nil)
	if err := v.Write(dir, "", 3); err != nil {
		t.Fatal(err)
	}
	return enginetest.Start(t, dir, args...)
}

func TestCatWritesTheNeedle(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"3,01637037d6"}, "hello"},
		{[]string{"--offset", "1", "--size", "3", "3,01637037d6"}, "ell"},
		{[]string{"3,01637037d6", "--offset=4"}, "o"},
		{[]string{"3,02637037d6"}, strings.Repeat("large", 5<<20)},
		{[]string{"3,04637037d6"}, ""},
	} {
		out, problems, code := sidecar(t, append([]string{"cat", "--engine", e.Socket}, x.args...)...)
		if string(out) != x.want || problems != "" || code != exitOK {
			t.Errorf("%v: %d bytes, %q, exit %d", x.args, len(out), problems, code)
		}
	}
}

func TestCatSaysWhatWentWrongAndWhatToTry(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	for _, x := range []struct {
		fid  string
		code int
		says string
	}{
		{"3,63637037d6", exitNotFound, "NEEDLE_NOT_FOUND"},
		{"9,01637037d6", exitNotFound, "--volumes"},
		{"3,01637037d7", exitNotFound, "COOKIE_MISMATCH"},
		{"3,03637037d6", exitCorrupt, "replica"},
		{"nonsense", exitUsage, "3,01637037d6"},
	} {
		out, problems, code := sidecar(t, "cat", "--engine", e.Socket, x.fid)
		if len(out) != 0 || !strings.Contains(problems, x.says) || code != x.code {
			t.Errorf("%s: %q, %q, exit %d", x.fid, out, problems, code)
		}
	}
	out, problems, code := sidecar(t, "cat", "--engine", filepath.Join(t.TempDir(), "none"), "3,01637037d6")
	if len(out) != 0 || !strings.Contains(problems, "is the engine running") || code != exitFailed {
		t.Errorf("no engine: %q, %q, exit %d", out, problems, code)
	}
}

func TestCatShowsTheTokenOfItsFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, "--auth-token-file", file)
	if _, problems, code := sidecar(t, "cat", "--engine", e.Socket, "3,01637037d6"); code != exitFailed || !strings.Contains(problems, "--token-file") {
		t.Errorf("without: %q, exit %d", problems, code)
	}
	out, problems, code := sidecar(t, "cat", "--engine", e.Socket, "--token-file", file, "3,01637037d6")
	if string(out) != "hello" || code != exitOK {
		t.Errorf("with: %q, %q, exit %d", out, problems, code)
	}
}

func TestOnlyTheEndOfItsLineIsNoPartOfTheToken(t *testing.T) {
	t.Parallel()
	for _, content := range []string{" s3cret ", "s3cret \n", "s3cret\r\n", "s3cret\r", "s3cret\u00a0\n"} {
		t.Run(fmt.Sprintf("%q", content), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			e := startEngine(t, "--auth-token-file", file)
			out, problems, code := sidecar(t, "cat", "--engine", e.Socket, "--token-file", file, "3,01637037d6")
			if string(out) != "hello" || code != exitOK {
				t.Errorf("%q, %q, exit %d", out, problems, code)
			}
		})
	}
}

func TestTheEnvironmentNamesTheSocket(t *testing.T) {
	e := startEngine(t)
	t.Setenv(socketVariable, e.Socket)
	if out, problems, code := sidecar(t, "cat", "3,01637037d6"); string(out) != "hello" || code != exitOK {
		t.Errorf("%q, %q, exit %d", out, problems, code)
	}
}

func TestWrongUsageExitsWithTwoAndTellsTheRightOne(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"frobnicate"}, {"cat"}, {"cat", "3,01637037d6", "4,01637037d6"}, {"cat", "--frob", "3,01637037d6"},
		{"cat", "--size", "-1", "3,01637037d6"},
	} {
		out, problems, code := sidecar(t, args...)
		if len(out) != 0 || !strings.Contains(problems, "usage: sidecar") || code != exitUsage {
			t.Errorf("%q: %q, %q, exit %d", args, out, problems, code)
		}
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {"cat", "-h"}} {
		if _, _, code := sidecar(t, args...); code != exitOK {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}
