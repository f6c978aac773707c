package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"rdma-engine/sidecar/internal/serve"
)

const serveUsage = `usage: sidecar serve [flags]

Answers what SeaweedFS's mount asks of an RDMA sidecar, with bytes read through an rdma-engine:

    sidecar serve --listen 127.0.0.1:8081 --engine /tmp/rdma-engine.sock
    weed mount -filer=HOST:PORT -dir=DIR -rdma.enabled=true -rdma.sidecar=127.0.0.1:8081

    GET /read?file_id=FID&offset=N&size=N[&volume_server=URL]
                      200 with exactly these bytes, or another status: 409 for a piece that reaches
                      its needle's end, 404 no such needle, 400 wrong request, 503 no engine or too
                      many reads, 504 too slow, 502 anything else
    GET /health       200 if the engine answers, 503 if not
    GET /stats        counts, as JSON
    GET /metrics      counts, for Prometheus
    DELETE /cleanup   does nothing: no temporary files are made

Nobody is asked who they are. Whoever reaches the address can read every needle whose file id they know.

flags:
`

type serveFlags struct {
	listen, socket, tokenFile string
	fallback, httpOnly        string
	log                       string
	connections               int
	options                   serve.Options
}

func serveCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, code := parseServe(args, stderr)
	if code >= 0 {
		return code
	}
	server, err := newServer(f, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "sidecar serve: %v\n", err)
		return exitUsage
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		fmt.Fprintf(stderr, "sidecar serve: %v; --listen takes HOST:PORT, with port 0 for any that is free\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", listener.Addr())
	if err := server.Serve(ctx, listener); err != nil {
		fmt.Fprintf(stderr, "sidecar serve: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// parseServe returns an exit code below 0 where there is something to do.
func parseServe(args []string, stderr io.Writer) (f serveFlags, code int) {
	set := flag.NewFlagSet("sidecar serve", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprint(set.Output(), serveUsage)
		set.PrintDefaults()
		fmt.Fprint(set.Output(), "\nexit codes: 0 stopped by SIGTERM or SIGINT, 1 failed, 2 wrong usage\n")
	}
	set.StringVar(&f.listen, "listen", "127.0.0.1:8081", "`HOST:PORT` to serve on; the first line of output says which port 0 became")
	set.StringVar(&f.socket, "engine", engineSocket(), "Unix `socket` of the engine; "+socketVariable+" changes the default")
	set.StringVar(&f.tokenFile, "token-file", "", "`file` with the engine's shared secret, where it has one configured")
	set.StringVar(&f.fallback, "fallback-http", "", "volume `servers`, http://HOST:PORT[,…], to read from over HTTP where the engine fails; for\n"+
		"clients other than the mount, which does not use such bytes (they come with X-RDMA-Used: false)")
	set.StringVar(&f.httpOnly, "http-only", "", "volume `servers`, http://HOST:PORT[,…], to read everything from, without an engine; a test aid that\n"+
		"shows what the mount does by itself: it says X-RDMA-Used: true, which is not so")
	set.StringVar(&f.log, "log", "", "`what` to log besides problems: requests")
	set.IntVar(&f.connections, "engine-connections", 16, "`reads` the engine is asked for at once")
	o := &f.options
	set.IntVar(&o.MaxRequests, "max-requests", serve.DefaultMaxRequests, "`reads` under way at once; more get 503")
	set.Uint64Var(&o.MaxSize, "max-size", serve.DefaultMaxSize, "most `bytes` of one read; the engine's max_transfer_size bounds it, too")
	set.DurationVar(&o.Timeout, "timeout", serve.DefaultTimeout, "`time` the engine, or a volume server, may take to answer a read")
	set.DurationVar(&o.WriteTimeout, "write-timeout", serve.DefaultWriteTimeout, "`time` a client may take to receive a read; its buffer stays taken meanwhile")
	set.DurationVar(&o.StopTimeout, "stop-timeout", serve.DefaultStopTimeout, "`time` that reads under way may take after SIGTERM")
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return f, exitOK
	case err != nil:
		return f, exitUsage
	case set.NArg() > 0:
		fmt.Fprintf(stderr, "sidecar serve: %q is no flag\n", set.Arg(0))
	case f.log != "" && f.log != "requests":
		fmt.Fprintf(stderr, "sidecar serve: --log takes requests, not %q\n", f.log)
	case f.httpOnly != "" && f.fallback != "":
		fmt.Fprintln(stderr, "sidecar serve: --http-only leaves nothing for --fallback-http to do: give one of them")
	default:
		return f, -1
	}
	set.Usage()
	return f, exitUsage
}

func newServer(f serveFlags, stderr io.Writer) (*serve.Server, error) {
	o := f.options
	o.Log = slog.New(slog.NewTextHandler(stderr, nil))
	o.LogRequests = f.log == "requests"
	if f.httpOnly != "" {
		o.VolumeServers = strings.Split(f.httpOnly, ",")
	} else {
		o.Engine.Socket, o.Engine.MaxConns = f.socket, f.connections
		if f.fallback != "" {
			o.VolumeServers = strings.Split(f.fallback, ",")
		}
	}
	if f.tokenFile != "" {
		content, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, err
		}
		o.Engine.Token = token(content)
	}
	if !loopback(f.listen) {
		o.Log.Warn("whoever reaches this address can read every needle whose file id they know: nobody is asked who they are", "listen", f.listen)
	}
	return serve.New(o)
}

// loopback reports whether only this host reaches the address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil || host == "localhost" {
		return true // what is no address is reported by who listens
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
