package grafana

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func all(t *testing.T) []Board {
	t.Helper()
	boards, err := boards()
	if err != nil {
		t.Fatal(err)
	}
	return boards
}

func TestIdsAreStableAndNobodyElses(t *testing.T) {
	uids := map[string]string{"operations.json": "rdma-engine-operations", "capacity.json": "rdma-engine-capacity"}
	for _, board := range all(t) {
		if board.UID != uids[board.File] {
			t.Errorf("%s has the uid %q", board.File, board.UID)
		}
		titles := map[int]string{}
		for _, panel := range board.Panels {
			if other, taken := titles[panel.ID]; taken || panel.ID == 0 {
				t.Errorf("%s: %q and %q have the id %d", board.File, other, panel.Title, panel.ID)
			}
			titles[panel.ID] = panel.Title
		}
	}
}

func TestEveryPanelHasATitleAUnitAndAQuery(t *testing.T) {
	for _, board := range all(t) {
		if len(board.Tags) == 0 || board.Refresh == "" {
			t.Errorf("%s has no tags or is not refreshed", board.File)
		}
		for _, panel := range board.Panels {
			if panel.Type != "row" && (panel.Title == "" || panel.FieldConfig.Defaults.Unit == "" || len(panel.Targets) == 0) {
				t.Errorf("%s: panel %d, %q, has no title, no unit or no query", board.File, panel.ID, panel.Title)
			}
		}
	}
}

func TestPanelsLieInTheGridAndNotOnEachOther(t *testing.T) {
	for _, board := range all(t) {
		taken := map[[2]int]string{}
		for _, panel := range board.Panels {
			at := panel.GridPos
			if at.W < 1 || at.H < 1 || at.X+at.W > 24 {
				t.Errorf("%s: %q lies at %+v", board.File, panel.Title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, twice := taken[[2]int{x, y}]; twice {
						t.Fatalf("%s: %q lies on %q", board.File, panel.Title, other)
					}
					taken[[2]int{x, y}] = panel.Title
				}
			}
		}
	}
}

func TestNoDataSourceIsHardWired(t *testing.T) {
	for _, board := range all(t) {
		var whole any
		if err := json.Unmarshal(board.Raw, &whole); err != nil {
			t.Fatal(err)
		}
		found := dataSources(whole)
		if len(found) < len(board.Panels)/2 {
			t.Errorf("%s names %d data sources", board.File, len(found))
		}
		for _, source := range found {
			if source != "map[type:prometheus uid:${datasource}]" {
				t.Errorf("%s has the data source %s", board.File, source)
			}
		}
	}
}

// dataSources lists every value under a key "datasource".
func dataSources(value any) (found []string) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if key == "datasource" {
				found = append(found, fmt.Sprint(inner))
			} else {
				found = append(found, dataSources(inner)...)
			}
		}
	case []any:
		for _, inner := range value {
			found = append(found, dataSources(inner)...)
		}
	}
	return found
}

func TestEveryVariableThatIsUsedIsThere(t *testing.T) {
	known := []string{"__rate_interval", "__range", "__all"}
	for _, board := range all(t) {
		have := slices.Clone(known)
		for _, variable := range board.Templating.List {
			have = append(have, variable.Name)
		}
		for _, needed := range []string{"datasource", "job", "instance", "volume"} {
			if !slices.Contains(have, needed) {
				t.Errorf("%s has no variable %s", board.File, needed)
			}
		}
		for _, used := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(board.Raw, -1) {
			if !slices.Contains(have, string(used[1])) {
				t.Errorf("%s uses $%s, which it does not have", board.File, used[1])
			}
		}
	}
}

func TestEverySelectorIsNarrowedToTheJobsAndInstancesChosen(t *testing.T) {
	for _, board := range all(t) {
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				narrowed := 0
				for _, found := range selector.FindAllStringSubmatch(target.Expr, -1) {
					if strings.Contains(found[2], `job=~"$job", instance=~"$instance"`) {
						narrowed++
					}
				}
				if narrowed == 0 || narrowed != len(metricsOf(target.Expr)) {
					t.Errorf("%s: %q asks of everybody: %s", board.File, panel.Title, target.Expr)
				}
			}
		}
	}
}

func TestEachDashboardLinksToTheOtherAndKeepsWhatIsChosen(t *testing.T) {
	boards := all(t)
	for _, board := range boards {
		for _, other := range boards {
			if other.UID == board.UID {
				continue
			}
			linked := false
			for _, link := range board.Links {
				linked = linked || link.URL == "/d/"+other.UID && link.IncludeVars && link.KeepTime
			}
			if !linked {
				t.Errorf("%s has no link to %s that keeps variables and time", board.File, other.File)
			}
		}
	}
}

// exported is what the README's table of metrics lists, which the daemons' own tests keep equal to what they export;
// what recording rules make; and what Prometheus adds.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"up": true, "ALERTS": true}
	for _, line := range strings.Split(string(readme), "\n") {
		if strings.HasPrefix(line, "|") {
			for _, name := range regexp.MustCompile("`((?:rdma|process)_[a-z_]+)").FindAllStringSubmatch(line, -1) {
				names[name[1]] = true
			}
		}
	}
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		names[rule.Record] = true
	}
	return names
}

func TestEveryMetricThatIsAskedForIsExported(t *testing.T) {
	names := exported(t)
	check := func(where, expr string) {
		metrics := metricsOf(expr)
		if len(metrics) == 0 {
			t.Errorf("%s asks for no metric: %s", where, expr)
		}
		for _, name := range metrics {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !names[name] && !names[base] {
				t.Errorf("%s asks for %s, which nobody exports", where, name)
			}
		}
	}
	for _, board := range all(t) {
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				check(board.File+": "+panel.Title, target.Expr)
			}
		}
		for _, annotation := range board.Annotations.List {
			check(board.File+": annotation", annotation.Expr)
		}
	}
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		check(rule.Record+rule.Alert, rule.Expr)
	}
}
