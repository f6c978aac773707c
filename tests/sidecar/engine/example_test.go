package engine_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"os"
	"time"

	"rdma-engine/sidecar/engine"
)

// Reading a needle where it lies, without copying it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := engine.Open(ctx, engine.Options{Socket: socket()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	request, err := engine.ParseFileID("1,273b6306d2")
	if err != nil {
		log.Fatal(err)
	}
	view, err := client.Read(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	sum := crc32.Checksum(view.Bytes(), crc32.MakeTable(crc32.Castagnoli))
	fmt.Println(view.Len(), "bytes, as the engine landed them:", sum == view.CRC())
	if err := view.Close(); err != nil {
		log.Fatal(err) // ErrExpired: sum may be of another reader's bytes
	}
	// Output: 5459 bytes, as the engine landed them: true
}

// A copy is always right, and holds no lease.
func ExampleClient_ReadAll() {
	ctx := context.Background()
	client, err := engine.Open(ctx, engine.Options{Socket: socket(), VerifyCRC: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	data, err := client.ReadAll(ctx, engine.Request{Volume: 1, Needle: 39, Cookie: 0x3b6306d2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(data))
	// Output: 5459
}

// Walking over a needle with a buffer of one's own.
func ExampleClient_ReadInto() {
	ctx := context.Background()
	client, err := engine.Open(ctx, engine.Options{Socket: socket()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	request := engine.Request{Volume: 1, Needle: 39, Cookie: 0x3b6306d2}
	buffer := make([]byte, 2048)
	for {
		n, err := client.ReadInto(ctx, request, buffer)
		fmt.Println(n)
		if err == nil {
			break // that was the rest
		}
		if !errors.Is(err, io.ErrShortBuffer) {
			log.Fatal(err)
		}
		request.Offset += uint64(n)
	}
	// Output:
	// 2048
	// 2048
	// 1363
}

// What the engine refuses is told apart by its code.
func ExampleCode() {
	ctx := context.Background()
	client, err := engine.Open(ctx, engine.Options{Socket: socket()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Read(ctx, engine.Request{Volume: 1, Needle: 12345, Cookie: 1})
	var refused *engine.Error
	switch {
	case errors.Is(err, engine.NeedleNotFound):
		fmt.Println("there is no such needle")
	case errors.As(err, &refused) && refused.Recoverable:
		fmt.Println("try again")
	}
	// Output: there is no such needle
}

// socket is the path of the engine's Unix socket.
func socket() string { return os.Getenv("RDMA_SOCKET_PATH") }
