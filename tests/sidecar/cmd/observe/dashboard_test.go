package main

import (
	"encoding/json"
	"testing"
)

func TestVariablesAreSubstitutedInEachNotation(t *testing.T) {
	values := map[string]string{"job": "engine", "__rate_interval": "15s", "pool": "2"}
	got, err := substitute(`rate(x{job=~"$job",a="${job:regex}"}[$__rate_interval]) * ${pool} + [[pool]]`, values)
	if want := `rate(x{job=~"engine",a="engine"}[15s]) * 2 + 2`; got != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := substitute("up == $nothing", values); err == nil {
		t.Error("a variable nobody knows had a value")
	}
}

func TestAVariableSaysWhatItAsksForAndWhatItIs(t *testing.T) {
	for text, want := range map[string][2]string{
		`{"query": "label_values(up, job)", "current": {"value": "$__all"}}`:            {"label_values(up, job)", ""},
		`{"query": {"query": "label_values(job)"}, "current": {"value": ["$__all"]}}`:   {"label_values(job)", ""},
		`{"query": "1,2,4", "current": {"value": "2"}}`:                                 {"1,2,4", "2"},
		`{"definition": "label_values(job)", "query": {}, "current": {"value": ["a"]}}`: {"label_values(job)", "a"},
	} {
		var v variable
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if got := [2]string{v.query(), v.current()}; got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestPanelsInRowsAreFoundToo(t *testing.T) {
	var d dashboard
	text := `{"panels": [{"title": "a", "targets": [{"expr": "1"}, {}]},
		{"title": "row", "panels": [{"title": "b", "targets": [{"expr": "2"}]}]}]}`
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	found := ""
	queries(d.Panels, func(title, expr string) { found += title + expr })
	if found != "a1b2" {
		t.Error(found)
	}
}
