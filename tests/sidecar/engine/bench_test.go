package engine

import (
	"context"
	"fmt"
	"testing"
)

func BenchmarkPing(b *testing.B) {
	c := open(b, startEngine(b), Options{})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Ping(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 4 << 20} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/%dconns", size>>10, callers), func(b *testing.B) {
				benchmarkRead(b, size, callers)
			})
		}
	}
}

func benchmarkRead(b *testing.B, size, callers int) {
	c := open(b, startEngine(b), Options{MaxConns: callers})
	r := own(bigNeedle)
	r.Size = uint64(size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, callers)
	for i := range callers {
		go func() {
			var err error
			for n := i; n < b.N && err == nil; n += callers {
				var view *View
				if view, err = c.Read(context.Background(), r); err == nil {
					err = view.Close()
				}
			}
			done <- err
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
