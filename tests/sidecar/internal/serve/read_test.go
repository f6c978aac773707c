package serve

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand"
	"net/http"
	"strings"
	"sync"
	"testing"

	"rdma-engine/sidecar/engine"
)

func TestAPieceIsServedExactly(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	for _, x := range []struct {
		needle uint64
		data   []byte
	}{{chunkNeedle, chunkData()}, {textNeedle, textData()}} {
		for _, p := range [][2]int{
			{0, 1}, {0, 2}, {1, 2047}, {0, 2048}, {0, 2049}, {3, 4096}, {5, 4097}, {0, 16384}, {16384, 32768}, {245760, 131072},
			{0, len(x.data) - 1}, {len(x.data) - 2, 1},
		} {
			got := s.read(t, x.needle, p[0], p[1])
			want := x.data[p[0] : p[0]+p[1]]
			if got.status != http.StatusOK || !bytes.Equal(got.body, want) {
				t.Errorf("needle %d, %v: status %d, %d bytes", x.needle, p, got.status, len(got.body))
			}
			for name, value := range map[string]string{
				"X-RDMA-Used": "true", "X-RDMA-Transport": "local", "Content-Length": fmt.Sprint(p[1]),
				// Of a compressed needle all is read, whatever the piece.
				"X-RDMA-CRC-Verified": fmt.Sprint(x.needle == textNeedle),
				"X-RDMA-CRC32C":       fmt.Sprintf("%08x", crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli))),
			} {
				if got.header.Get(name) != value {
					t.Errorf("needle %d, %v: %s is %q, want %q", x.needle, p, name, got.header.Get(name), value)
				}
			}
		}
	}
}

func TestAPieceThatReachesTheNeedlesEndIsLeftToTheOrdinaryPath(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := through(t, e)
	end := chunkBytes
	for _, p := range [][2]int{{end - 1, 1}, {end - 16384, 16384}, {0, end}, {end - 10, 11}, {end - 1, 131072}, {0, end + 1}, {end, 1}, {end + 1, 1}, {1 << 40, 1}} {
		got := s.read(t, chunkNeedle, p[0], p[1])
		if got.status != http.StatusConflict || got.header.Get("X-RDMA-Used") != "" || !strings.Contains(string(got.body), "end") {
			t.Errorf("%v: status %d, %.100q", p, got.status, got.body)
		}
	}
	if got := s.read(t, emptyNeedle, 0, 1); got.status != http.StatusConflict {
		t.Errorf("of an empty needle: status %d", got.status)
	}
	s.awaitCount(t, cut, 10)
	awaitNoSessions(t, e)
}

func TestWhatTheEngineRefusesIsAnErrorOfTheRightKind(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	for _, x := range []struct {
		path, says string
		status     int
	}{
		{query(999, 0, 1), "NEEDLE_NOT_FOUND", http.StatusNotFound},
		{"/read?file_id=9,01637037d6&offset=0&size=1", "VOLUME_NOT_FOUND", http.StatusNotFound},
		{"/read?file_id=3,01637037d7&offset=0&size=1", "COOKIE_MISMATCH", http.StatusNotFound},
		{query(corruptNeedle, 0, len(textData())), "CHECKSUM_MISMATCH", http.StatusBadGateway},
	} {
		got := s.get(t, x.path)
		if got.status != x.status || !strings.Contains(string(got.body), x.says) {
			t.Errorf("%s: status %d, %q", x.path, got.status, got.body)
		}
	}
}

func TestAReadLargerThanTheEnginesLargestTransferIsAWrongRequest(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t, "--max-transfer-size", "64KiB"))
	got := s.read(t, chunkNeedle, 0, 64<<10+1)
	if got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "TRANSFER_TOO_LARGE") {
		t.Errorf("status %d, %q", got.status, got.body)
	}
	if got := s.read(t, chunkNeedle, 0, 64<<10); got.status != http.StatusOK {
		t.Errorf("the largest: status %d, %q", got.status, got.body)
	}
}

func TestOlderMountsNameTheNeedleByItsParts(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	got := s.get(t, fmt.Sprintf("/read?volume=%d&needle=%d&cookie=%d&offset=7&size=9", volume, chunkNeedle, cookie))
	if got.status != http.StatusOK || !bytes.Equal(got.body, chunkData()[7:16]) {
		t.Errorf("status %d, %q", got.status, got.body)
	}
}

func TestSixtyFourClientsReadAtOnceAndLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := through(t, e)
	data := chunkData()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var running sync.WaitGroup
	for worker := range 64 {
		running.Add(1)
		go func() {
			defer running.Done()
			random := rand.New(rand.NewSource(int64(worker)))
			body := bytes.Buffer{}
			for range 20 {
				size := 1 + random.Intn(131072)
				offset := random.Intn(len(data) - size)
				answer, err := client.Get(s.url + query(chunkNeedle, offset, size))
				if err != nil {
					t.Error(err)
					return
				}
				body.Reset()
				_, err = body.ReadFrom(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != http.StatusOK || !bytes.Equal(body.Bytes(), data[offset:offset+size]) {
					t.Errorf("%d bytes from %d on: %v, %s, %d bytes came", size, offset, err, answer.Status, body.Len())
				}
			}
		}()
	}
	running.Wait()
	s.awaitCount(t, served, 64*20)
	awaitNoSessions(t, e)
}

func TestTheMountsOtherRequestsAreAnswered(t *testing.T) {
	t.Parallel()
	s := through(t, startEngine(t))
	if got := s.do(t, http.MethodDelete, "/cleanup?temp_file=/etc/hostname"); got.status != http.StatusOK {
		t.Errorf("/cleanup: status %d", got.status)
	}
	for _, x := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 404}, {"GET", "/read/", 404}, {"GET", "//read", 404}, {"GET", "/READ", 404}, {"OPTIONS", "/", 404},
		{"POST", "/read", 405}, {"HEAD", "/read", 405}, {"DELETE", "/read", 405}, {"GET", "/cleanup", 405}, {"PUT", "/health", 405},
	} {
		if got := s.do(t, x.method, x.path); got.status != x.status {
			t.Errorf("%s %s: status %d, want %d", x.method, x.path, got.status, x.status)
		}
	}
}

func TestAPieceIsOnlyServedIfAllOfItCame(t *testing.T) {
	t.Parallel()
	p := &piece{Request: engine.Request{Offset: 100, Size: 10}}
	for _, x := range []struct {
		needle, brought uint64
		fine            bool
	}{{111, 10, true}, {111, 9, false}, {111, 0, false}, {110, 10, false}, {105, 5, false}, {0, 0, false}} {
		if err := p.check(x.needle, x.brought); (err == nil) != x.fine {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

func TestAClientThatGoesAwayGivesItsReadUp(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := through(t, e)
	if got := s.read(t, chunkNeedle, 0, 1); got.status != http.StatusOK {
		t.Fatalf("status %d", got.status)
	}
	s.awaitCount(t, served, 1)
	pause(t, e)
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+query(chunkNeedle, 0, 4096), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			t.Errorf("a paused engine answered: %s", answer.Status)
		}
	}()
	await(t, "the read is under way", func() bool { return s.value(t, "sidecar_reads_in_flight", "") == 1 })
	cancel()
	<-ended
	s.awaitCount(t, gone, 1)
}
