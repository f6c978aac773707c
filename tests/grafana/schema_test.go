package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/gauge"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// panelTypes are those whose options the schema has, and which grafana/render draws.
var panelTypes = []variants.PanelcfgConfig{bargauge.VariantConfig(), gauge.VariantConfig(), heatmap.VariantConfig(),
	stat.VariantConfig(), table.VariantConfig(), timeseries.VariantConfig()}

// validate is nil if Grafana's own schema, panels' options and queries included, has every field of the dashboard and
// allows its value.
func validate(raw []byte) error {
	runtime := cog.NewRuntime()
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	for _, panel := range panelTypes {
		runtime.RegisterPanelcfgVariant(panel)
	}
	var board dashboard.Dashboard
	if err := board.UnmarshalJSONStrict(raw); err != nil {
		return err
	}
	for _, panel := range board.Panels {
		if panel.Panel == nil {
			continue // a row
		}
		// The options of a type that is not registered would pass unread.
		if _, known := runtime.ConfigForPanelcfgVariant(panel.Panel.Type); !known {
			return fmt.Errorf("panel type %s: not registered above", panel.Panel.Type)
		}
	}
	// What strict decoding of a whole dashboard leaves out: the fields' configuration, and choices by name.
	var whole struct {
		Panels []struct{ FieldConfig json.RawMessage }
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return err
	}
	for _, panel := range whole.Panels {
		if panel.FieldConfig == nil {
			continue
		}
		var config dashboard.FieldConfigSource
		if err := config.UnmarshalJSONStrict(panel.FieldConfig); err != nil {
			return err
		}
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return err
	}
	if err := checkChoices("", "", tree); err != nil {
		return err
	}
	return board.Validate()
}

// choices are the schema's values of what is chosen by name; a key by itself, or with the key above it.
var choices = map[string][]string{
	"displayMode":            {"list", "table", "hidden", "basic", "lcd", "gradient"},
	"placement":              {"bottom", "right"},
	"orientation":            {"auto", "vertical", "horizontal"},
	"graphMode":              {"none", "line", "area"},
	"colorMode":              {"none", "value", "background", "background_solid"},
	"textMode":               {"auto", "value", "value_and_name", "name", "none"},
	"showPoints":             {"auto", "never", "always"},
	"cellHeight":             {"sm", "md", "lg", "auto"},
	"axisPlacement":          {"auto", "top", "right", "bottom", "left", "hidden"},
	"valueMode":              {"color", "text", "hidden"},
	"thresholds.mode":        {"absolute", "percentage"},
	"stacking.mode":          {"none", "normal", "percent"},
	"tooltip.mode":           {"single", "multi", "none"},
	"thresholdsStyle.mode":   {"off", "line", "dashed", "area", "line+area", "dashed+area", "series"},
	"scaleDistribution.type": {"linear", "log", "ordinal", "symlog"},
	"cellOptions.type":       {"auto", "color-text", "color-background", "gauge", "sparkline", "json-view", "pill"},
	"templating.type":        {"query", "adhoc", "constant", "datasource", "interval", "textbox", "custom", "system"},
}

func checkChoices(parent, key string, value any) error {
	switch value := value.(type) {
	case string:
		allowed := slices.Concat(choices[key], choices[parent+"."+key])
		if len(allowed) > 0 && !slices.Contains(allowed, value) {
			return fmt.Errorf("%s.%s: %q is none of %q", parent, key, value, allowed)
		}
	case map[string]any:
		for inner, it := range value {
			if err := checkChoices(key, inner, it); err != nil {
				return err
			}
		}
	case []any:
		for _, it := range value {
			// A variable is in templating.list.
			above := key
			if key == "list" {
				above = parent
			}
			if err := checkChoices(parent, above, it); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestDashboardsAreWhatGrafanasSchemaAllows(t *testing.T) {
	for _, board := range all(t) {
		if err := validate(board.Raw); err != nil {
			t.Errorf("%s: %v", board.File, err)
		}
	}
}

func TestWhatGrafanasSchemaDoesNotHaveIsRefused(t *testing.T) {
	raw := all(t)[1].Raw
	if err := validate(raw); err != nil {
		t.Fatal(err)
	}
	for old, wrong := range map[string]string{
		`"schemaVersion": 41`:       `"schemaVersion": "41"`,
		`"editable": true`:          `"editabel": true`,
		`"gridPos": {"h": 1`:        `"gridPos": {"height": 1`,
		`"unit": "percentunit"`:     `"units": "percentunit"`,
		`"mode": "absolute"`:        `"mode": "relative"`,
		`"refId": "A"`:              `"refID": "A"`,
		`"fillOpacity": `:           `"opacity": `,
		`"displayMode": "table"`:    `"displayMode": "chart"`,
		`"matcher": {"id": "by`:     `"matcher": {"ids": "by`,
		`"type": "heatmap"`:         `"type": "flamegraph"`,
		`"type": "datasource"`:      `"type": "source"`,
		`"reduceOptions": {"calcs"`: `"reduceOptions": {"reducers"`,
	} {
		changed := bytes.Replace(raw, []byte(old), []byte(wrong), 1)
		if bytes.Equal(changed, raw) {
			t.Errorf("no dashboard has %s", old)
		} else if validate(changed) == nil {
			t.Errorf("%s passed for %s", wrong, old)
		}
	}
}
