// Package grafana reads the dashboards, rules and provisioning files, for the tests beside it.
package grafana

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

const root = "../.."

// Board is what the tests ask of a dashboard, beside the schema.
type Board struct {
	File          string `json:"-"`
	Raw           []byte `json:"-"`
	UID           string
	Title         string
	Tags          []string
	Refresh       string
	SchemaVersion int
	Links         []struct {
		URL                   string
		IncludeVars, KeepTime bool
	}
	Annotations struct {
		List []struct{ Expr string }
	}
	Templating struct {
		List []struct {
			Name, Type string
		}
	}
	Panels []Panel
}

// Panel is one panel or row.
type Panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds Thresholds
			Custom     struct{ ThresholdsStyle struct{ Mode string } }
		}
		Overrides []struct {
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
	Targets []Target
}

// Target is a query of a panel.
type Target struct{ RefID, Expr string }

// Thresholds are the colours of a field's values; the first step is the base, without a value.
type Thresholds struct{ Steps []Step }

// Step is the colour from a value on.
type Step struct {
	Color string
	Value *float64
}

// limits are the steps beyond the base colour, of the panel's defaults and of its overrides.
func (p Panel) limits() (steps []Step, err error) {
	all := []Thresholds{p.FieldConfig.Defaults.Thresholds}
	for _, override := range p.FieldConfig.Overrides {
		for _, property := range override.Properties {
			if property.ID != "thresholds" {
				continue
			}
			var its Thresholds
			if err := json.Unmarshal(property.Value, &its); err != nil {
				return nil, fmt.Errorf("%q: %w", p.Title, err)
			}
			all = append(all, its)
		}
	}
	for _, thresholds := range all {
		for _, step := range thresholds.Steps {
			if step.Value != nil {
				steps = append(steps, step)
			}
		}
	}
	return steps, nil
}

// drawsLimits is whether a line stands at each threshold of a panel over time, or of a series with a scale of its own.
func (p Panel) drawsLimits() bool {
	draws := p.FieldConfig.Defaults.Custom.ThresholdsStyle.Mode == "dashed"
	for _, override := range p.FieldConfig.Overrides {
		for _, property := range override.Properties {
			draws = draws || property.ID == "custom.thresholdsStyle" && string(property.Value) == `{"mode": "dashed"}`
		}
	}
	return draws
}

func boards() ([]Board, error) {
	files, err := filepath.Glob(filepath.Join(root, "grafana/dashboards/*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no dashboards found: %w", err)
	}
	var all []Board
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		board := Board{File: filepath.Base(file), Raw: raw}
		if err := json.Unmarshal(raw, &board); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, board)
	}
	return all, nil
}

// Rule is a recording rule or an alert.
type Rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules() ([]Rule, error) {
	files, err := filepath.Glob(filepath.Join(root, "config/rules/*.yml"))
	if err != nil {
		return nil, err
	}
	var all []Rule
	for _, file := range files {
		var content struct {
			Groups []struct{ Rules []Rule }
		}
		if err := readYAML(file, &content); err != nil {
			return nil, err
		}
		for _, group := range content.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all, nil
}

func readYAML(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	matchers = regexp.MustCompile(`\{[^}]*\}`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	span     = regexp.MustCompile(`\[[^\]]*\]`)
	variable = regexp.MustCompile(`\$\w+`)
	word     = regexp.MustCompile(`[a-zA-Z_:][\w:]*\b\s*\(?`)
	number   = regexp.MustCompile(`\b\d+(\.\d+)?(e-?\d+)?\b`)
	operator = regexp.MustCompile(`^(and|or|unless|bool|offset)$`)
	selector = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\{([^}]*)\}`)
)

// metricsOf names the metrics an expression asks for.
func metricsOf(expr string) []string {
	bare := expr
	for _, part := range []*regexp.Regexp{quoted, matchers, grouping, span, variable, number} {
		bare = part.ReplaceAllString(bare, " ")
	}
	var names []string
	for _, found := range word.FindAllString(bare, -1) {
		name := strings.TrimSpace(found)
		if !strings.HasSuffix(name, "(") && !operator.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}
