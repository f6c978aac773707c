package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// dashboard is what of a Grafana dashboard's JSON asks Prometheus for something.
type dashboard struct {
	Title       string
	Panels      []panel
	Templating  struct{ List []variable }
	Annotations struct{ List []annotation }
}

type panel struct {
	Title   string
	Targets []struct{ Expr, RefID string }
	// Of a row that is folded.
	Panels []panel
}

type annotation struct{ Name, Expr string }

// variable is one of a dashboard's variables.
type variable struct {
	Name, Type string
	// Text, or for type "query" in newer dashboards an object with it.
	Query      json.RawMessage
	Definition string
	IncludeAll bool
	AllValue   string
	Current    struct{ Value json.RawMessage }
}

// readDashboards reads all of the repository's.
func readDashboards(root string) ([]dashboard, error) {
	paths, err := filepath.Glob(filepath.Join(root, "grafana", "dashboards", "*.json"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no dashboards in %s/grafana/dashboards", root)
	}
	var all []dashboard
	for _, path := range paths {
		text, readErr := os.ReadFile(path)
		if readErr != nil {
			return nil, readErr
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, d)
	}
	return all, err
}

// query is the text of what a variable asks for.
func (v variable) query() string {
	var text string
	if json.Unmarshal(v.Query, &text) == nil {
		return text
	}
	var object struct{ Query string }
	if json.Unmarshal(v.Query, &object) == nil && object.Query != "" {
		return object.Query
	}
	return v.Definition
}

// current is the value a dashboard is opened with, "" where that is all.
func (v variable) current() string {
	var text string
	if json.Unmarshal(v.Current.Value, &text) != nil {
		var several []string
		if json.Unmarshal(v.Current.Value, &several) == nil {
			text = strings.Join(several, "|")
		}
	}
	if text == "$__all" {
		return ""
	}
	return text
}

// labelValues is how a variable asks for the values of a label: label_values(selector, label) or label_values(label).
var labelValues = regexp.MustCompile(`^label_values\((?:(.*),)? *(\w+) *\)$`)

// reference is a variable in an expression: $name, ${name}, ${name:format}, [[name]].
var reference = regexp.MustCompile(`\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]`)

// substitute puts values in the place of variables. One without a value is an error.
func substitute(expr string, values map[string]string) (string, error) {
	var unknown error
	text := reference.ReplaceAllStringFunc(expr, func(found string) string {
		match := reference.FindStringSubmatch(found)
		name := match[1] + match[2] + match[3]
		value, ok := values[name]
		if !ok {
			unknown = fmt.Errorf("variable %s has no value in %s", name, expr)
		}
		return value
	})
	return text, unknown
}

// queries are the panels' queries, those in rows included, by the panel's title.
func queries(panels []panel, each func(title, expr string)) {
	for _, p := range panels {
		for _, target := range p.Targets {
			if target.Expr != "" {
				each(p.Title, target.Expr)
			}
		}
		queries(p.Panels, each)
	}
}
