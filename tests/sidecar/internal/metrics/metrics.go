// Package metrics reads counters and gauges in Prometheus's text format.
package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Page is what a process's /metrics said at one time.
type Page struct{ lines []string }

// Get reads /metrics of the process that serves it at address, a HOST:PORT.
func Get(ctx context.Context, address string) (Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return Page{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Page{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Page{}, fmt.Errorf("http://%s/metrics: %s", address, response.Status)
	}
	text, err := io.ReadAll(response.Body)
	return Page{strings.Split(string(text), "\n")}, err
}

// Sum is that of the metric of this name over all series whose labels contain every one of with, like
// `type="read"`. A series that does not exist counts as 0.
func (p Page) Sum(name string, with ...string) float64 {
	sum := 0.0
	for _, line := range p.lines {
		if value, ok := series(line, name, with); ok {
			sum += value
		}
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
