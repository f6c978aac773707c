package main

import (
	"strings"
	"testing"
)

func TestTargetsOfEitherNotationGetTheAddressesOfTheirPort(t *testing.T) {
	text := `
      - targets: ["a:9464", "b:9464"]
      - targets: [localhost:9465]
      - targets:
          - c:9464
          - d:9464
      - targets: [other:9100]
`
	want := `
      - targets: ["1:1", "1:2"]
      - targets: ["1:3"]
      - targets:
          - "1:1"
          - "1:2"
      - targets: [other:9100]
`
	if got := readdressed(text, map[string][]string{"9464": {"1:1", "1:2"}, "9465": {"1:3"}}); got != want {
		t.Error(got)
	}
}

func TestIntervalsAreASecond(t *testing.T) {
	got := everySecond("global:\n  scrape_interval: 15s\n  evaluation_interval: 1m # often\ngroups:\n    interval: 30s\n")
	if strings.Count(got, ": 1s") != 3 || strings.Contains(got, "30s") {
		t.Error(got)
	}
}
