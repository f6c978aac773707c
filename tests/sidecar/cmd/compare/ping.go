package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"rdma-engine/sidecar/internal/measure"
)

// pingFrame is a Ping as a Go client sends it, with its length before it.
func pingFrame() []byte {
	body := []byte("\x82\xa4type\xa4Ping\xa4data\x81\xactimestamp_ns\xcf")
	body = binary.BigEndian.AppendUint64(body, uint64(time.Now().UnixNano()))
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// exchanger sends a request and waits for its reply: one write, one read. It is the client of the echo servers and
// of the engine alike.
type exchanger struct {
	conn    net.Conn
	request []byte
	buffer  [1024]byte
}

func dialExchanger(ctx context.Context, socket string, request []byte) (*exchanger, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	return &exchanger{conn: conn, request: request}, nil
}

func (e *exchanger) exchange() (reply []byte, err error) {
	if _, err := e.conn.Write(e.request); err != nil {
		return nil, err
	}
	n, err := e.conn.Read(e.buffer[:])
	return e.buffer[:n], err
}

// side makes an exchange a Side; every reply has to have size bytes, give or take the few that a number in a Pong
// may be shorter or longer.
func (e *exchanger) side(name string, size int) measure.Side {
	return measure.Side{Name: name, Op: func(int, int) error {
		reply, err := e.exchange()
		if err == nil && (len(reply) < size-8 || len(reply) > size+8) {
			err = fmt.Errorf("a reply of %d bytes instead of about %d", len(reply), size)
		}
		return err
	}}
}

// pingRow measures a ping beside the two echoes, and the engine package's Ping, which is more than an exchange.
func (b *bench) pingRow(ctx context.Context) (row, error) {
	ping, err := dialExchanger(ctx, b.socket, pingFrame())
	if err != nil {
		return row{}, err
	}
	defer ping.conn.Close()
	pong, err := ping.exchange()
	if err != nil {
		return row{}, fmt.Errorf("a ping: %w", err)
	}
	if !bytes.Contains(pong, []byte("Pong")) {
		return row{}, fmt.Errorf("the engine answers a ping with %q", pong)
	}
	sides := []measure.Side{}
	for _, mode := range []string{"blocking", "tokio-uring"} {
		echo, err := b.startEcho(ctx, mode, len(ping.request), len(pong))
		if err != nil {
			return row{}, err
		}
		defer echo.stop()
		sides = append(sides, echo.side(mode+" echo", len(pong)))
	}
	sides = append(sides, ping.side("engine ping", len(pong)), measure.Side{Name: "engine package's Ping", Op: func(int, int) error {
		_, err := b.engine.Ping(ctx)
		return err
	}})
	results, err := measure.Run(b.plan(1), sides...)
	if err != nil {
		return row{}, err
	}
	bare, engine := results[1].LatencyMicros.Median, results[2].LatencyMicros.Median
	what := fmt.Sprintf("%d B there, %d B back", len(ping.request), len(pong))
	return row{What: what, Connections: 1, Sides: results, targets: []target{
		{what: "engine ping ÷ bare tokio-uring echo, median time", ratio: engine / bare, limit: 1.2, atMost: true},
	}}, nil
}

// echo is a running echo server and a connection to it.
type echo struct {
	*exchanger
	dir    string
	server *exec.Cmd
	input  io.Closer
}

// startEcho runs an echo server, on the CPUs of this process, and connects to it.
func (b *bench) startEcho(ctx context.Context, mode string, request, reply int) (*echo, error) {
	dir, err := os.MkdirTemp("", "echo")
	if err != nil {
		return nil, err
	}
	e := &echo{dir: dir}
	if err := e.start(ctx, b.echo, mode, request, reply); err != nil {
		e.stop()
		return nil, fmt.Errorf("%s echo server %q: %w", mode, b.echo, err)
	}
	return e, nil
}

func (e *echo) start(ctx context.Context, program, mode string, request, reply int) error {
	socket := filepath.Join(e.dir, "socket")
	server := exec.Command(program, "--mode", mode, "--socket", socket,
		"--request", strconv.Itoa(request), "--reply", strconv.Itoa(reply))
	server.Stderr = os.Stderr
	input, err := server.StdinPipe()
	if err != nil {
		return err
	}
	output, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	e.server, e.input = server, input
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		return fmt.Errorf("it did not say that it listens: %w", err)
	}
	e.exchanger, err = dialExchanger(ctx, socket, make([]byte, request))
	return err
}

func (e *echo) stop() {
	if e.exchanger != nil {
		e.conn.Close()
	}
	if e.server != nil {
		e.input.Close() // which ends it
		_ = e.server.Wait()
	}
	os.RemoveAll(e.dir)
}
