package enginetest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Metric returns the sum of the engine's metric of this name over all series whose labels contain
// every one of with, like `type="read"`. A series that does not exist counts as 0.
func (e *Engine) Metric(t testing.TB, name string, with ...string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/metrics", e.Metrics), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics answered %s", response.Status)
	}
	sum := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := series(lines.Text(), name, with); ok {
			sum += value
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return sum
}

// series reads a line of the text format, `name{labels} value` or `name value`.
func series(line, name string, with []string) (float64, bool) {
	rest, ok := strings.CutPrefix(line, name)
	if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
		return 0, false
	}
	split := strings.LastIndexByte(rest, ' ')
	for _, label := range with {
		if !strings.Contains(rest[:split], label) {
			return 0, false
		}
	}
	value, err := strconv.ParseFloat(rest[split+1:], 64)
	return value, err == nil
}
