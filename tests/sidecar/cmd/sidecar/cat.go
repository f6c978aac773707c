package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"rdma-engine/sidecar/engine"
)

const (
	// Where the engine listens by default, and the variable that changes it for both sides.
	defaultSocket  = "/tmp/rdma-engine.sock"
	socketVariable = "RDMA_SOCKET_PATH"
)

// engineSocket is where the engine is unless a flag says otherwise.
func engineSocket() string {
	if path := os.Getenv(socketVariable); path != "" {
		return path
	}
	return defaultSocket
}

type catFlags struct {
	socket, tokenFile, collection string
	offset, size                  uint64
	timeout                       time.Duration
}

func cat(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags, fid, code := parseCat(args, stderr)
	if code >= 0 {
		return code
	}
	request, err := engine.ParseFileID(fid)
	if err != nil {
		fmt.Fprintf(stderr, "sidecar cat: %v\n", err)
		return exitUsage
	}
	request.Offset, request.Size, request.Collection = flags.offset, flags.size, flags.collection
	data, err := fetch(ctx, flags, request)
	if err == nil {
		_, err = stdout.Write(data)
	}
	if err != nil {
		fmt.Fprintf(stderr, "sidecar cat %s: %v\n", fid, err)
		if advice := advise(err); advice != "" {
			fmt.Fprintln(stderr, advice)
		}
	}
	return exitCode(err)
}

// parseCat returns an exit code below 0 where there is something to do.
func parseCat(args []string, stderr io.Writer) (f catFlags, fid string, code int) {
	set := flag.NewFlagSet("sidecar cat", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprint(set.Output(), "usage: sidecar cat [flags] FID\n\nFID is a SeaweedFS file id, like 3,01637037d6.\n\nflags:\n")
		set.PrintDefaults()
		fmt.Fprint(set.Output(), "\nexit codes: 0 written, 1 failed, 2 wrong usage, 3 no such needle, 4 corrupt\n")
	}
	set.StringVar(&f.socket, "engine", engineSocket(), "Unix `socket` of the engine; "+socketVariable+" changes the default")
	set.StringVar(&f.tokenFile, "token-file", "", "`file` with the engine's shared secret, where it has one configured")
	set.StringVar(&f.collection, "collection", "", "`name` of the collection the volume must belong to")
	set.Uint64Var(&f.offset, "offset", 0, "first `byte` wanted")
	set.Uint64Var(&f.size, "size", 0, "`bytes` wanted; 0 is to the end of the needle")
	set.DurationVar(&f.timeout, "timeout", engine.DefaultTimeout, "`time` it all may take")

	var operands []string
	for rest := args; ; rest = set.Args()[1:] {
		err := set.Parse(rest)
		if errors.Is(err, flag.ErrHelp) {
			return f, "", exitOK
		}
		if err != nil {
			return f, "", exitUsage
		}
		if set.NArg() == 0 {
			break
		}
		operands = append(operands, set.Arg(0))
	}
	if len(operands) != 1 {
		fmt.Fprintf(stderr, "sidecar cat: %d file ids given, 1 wanted\n", len(operands))
		set.Usage()
		return f, "", exitUsage
	}
	return f, operands[0], -1
}

// fetch reads the range whole, so that nothing is written before all of it has been checked.
func fetch(ctx context.Context, flags catFlags, request engine.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, flags.timeout)
	defer cancel()
	options := engine.Options{Socket: flags.socket, MaxConns: 1, ClientID: "sidecar cat", VerifyCRC: true}
	if flags.tokenFile != "" {
		content, err := os.ReadFile(flags.tokenFile)
		if err != nil {
			return nil, err
		}
		options.Token = token(content)
	}
	client, err := engine.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.ReadAll(ctx, request)
}

// token is that of a file with this content: all but the end of its line, as the engine has it.
func token(content []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
}

func exitCode(err error) int {
	var code engine.Code
	var refused *engine.Error
	if errors.As(err, &refused) {
		code = refused.Code
	}
	switch code {
	case engine.NeedleNotFound, engine.VolumeNotFound, engine.CookieMismatch:
		return exitNotFound
	case engine.ChecksumMismatch, engine.CorruptNeedle, engine.CorruptVolume:
		return exitCorrupt
	}
	if err != nil {
		return exitFailed
	}
	return exitOK
}

// advise says what to try. Errors that say so themselves get nothing added.
func advise(err error) string {
	switch {
	case errors.Is(err, engine.NeedleNotFound), errors.Is(err, engine.CookieMismatch):
		return "Compare the file id with what SeaweedFS gave out; the needle may also have been deleted."
	case errors.Is(err, engine.VolumeNotFound):
		return "Look whether the folder of the volume's .dat is among the engine's --volumes."
	case errors.Is(err, engine.ChecksumMismatch), errors.Is(err, engine.CorruptNeedle):
		return "The stored data is damaged: read another replica, and run volume.fsck in weed shell."
	case errors.Is(err, engine.Unauthenticated):
		return "Give the engine's secret with --token-file."
	case errors.Is(err, context.DeadlineExceeded):
		return "The engine took too long: look at its log, or give it more --timeout."
	}
	return ""
}
