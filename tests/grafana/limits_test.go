package grafana

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// withoutLimits are the panels that have no threshold, and why: a limit would be invented. Their descriptions say what
// to compare with. Heatmaps, whose colours are counts, can have none.
var withoutLimits = map[string][]string{
	"what is usual depends on the load": {
		"Operations: Reads", "Operations: Throughput", "Operations: Throughput by instance",
		"Operations: Throughput of a session", "Operations: Reads by client", "Operations: Reads by volume", "Operations: CPU", "Operations: Memory",
		"Capacity: Needles", "Capacity: Top volumes", "Capacity: Throughput by volume", "Capacity: CPU for a gigabyte",
	},
	"a mix, of which no part is bad": {
		"Operations: Reads by transport", "Operations: Verbs: polls that hit, and sleeps",
		"Capacity: What binds first", "Capacity: Share of reads by size", "Capacity: Sizes of reads, quantiles",
		"Capacity: Share of reads by transport",
	},
	"each state has its colour, the bad one is red": {
		"Operations: Peers by state", "Operations: Queue pairs by state", "Operations: Pool by state",
	},
	"the limit is configured, and drawn as a line of its own": {"Operations: Sessions open"},
}

// titleOf is how a panel is called above.
func titleOf(board Board, panel Panel) string {
	return strings.TrimPrefix(board.Title, "RDMA engine: ") + ": " + panel.Title
}

// panels calls each with every panel that shows something.
func panels(t *testing.T, each func(name string, panel Panel, limits []Step)) {
	t.Helper()
	for _, board := range all(t) {
		for _, panel := range board.Panels {
			if panel.Type == "row" {
				continue
			}
			limits, err := panel.limits()
			if err != nil {
				t.Fatal(err)
			}
			each(titleOf(board, panel), panel, limits)
		}
	}
}

func TestEveryPanelSaysFromWhichValueOnToActOrIsListedWithTheReasonWhyNot(t *testing.T) {
	excused := map[string]bool{}
	for _, names := range withoutLimits {
		for _, name := range names {
			excused[name] = true
		}
	}
	panels(t, func(name string, panel Panel, limits []Step) {
		none := panel.Type == "heatmap" || excused[name]
		if none == (len(limits) > 0) {
			t.Errorf("%s has %d thresholds; is it listed without limits: %v", name, len(limits), excused[name])
		}
		if panel.Type == "timeseries" && panel.drawsLimits() != (len(limits) > 0) {
			t.Errorf("%s has thresholds that are not drawn, or draws none", name)
		}
		delete(excused, name)
	})
	for name := range excused {
		t.Errorf("%s is listed without limits, but is no panel", name)
	}
}

// What a description sends its reader to: a panel by its title, an alert's section of the runbook, and a
// setting, a metric or a command.
var (
	toPanel   = regexp.MustCompile(`(?:^|[ (])'([A-Z].*?)'(?:[ ,.;:)]|$)`)
	toRunbook = regexp.MustCompile(`\bRdma[A-Z]\w+`)
	toSetting = regexp.MustCompile("`([^`]+)`")
)

func TestEveryDescriptionSaysWhereToGoNextAndThatPlaceExists(t *testing.T) {
	titles, alerts := map[string]bool{}, map[string]bool{}
	panels(t, func(_ string, panel Panel, _ []Step) { titles[panel.Title] = true })
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		alerts[rule.Alert] = true
	}
	known := readme(t)
	for _, file := range []string{"config/engine.toml", "config/target.toml"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		known += string(text)
	}
	panels(t, func(name string, panel Panel, _ []Step) {
		places := 0
		check := func(pattern *regexp.Regexp, exists func(place string) bool) {
			for _, found := range pattern.FindAllStringSubmatch(panel.Description, -1) {
				places++
				if place := found[len(found)-1]; !exists(place) {
					t.Errorf("%s sends its reader to %q, which is not there", name, place)
				}
			}
		}
		check(toPanel, func(place string) bool { return titles[place] })
		check(toRunbook, func(place string) bool { return alerts[place] })
		check(toSetting, func(place string) bool { return strings.Contains(known, place) })
		if places == 0 || strings.Contains(panel.Description, "'"+panel.Title+"'") {
			t.Errorf("%s does not say what to do next: %q", name, panel.Description)
		}
	})
}

func TestNoTwoPanelsShowTheSame(t *testing.T) {
	asked := map[string]string{}
	panels(t, func(name string, panel Panel, _ []Step) {
		// A figure by itself may stand at the top of both dashboards.
		if panel.Type == "stat" || panel.Type == "gauge" {
			return
		}
		all := fmt.Sprint(panel.Targets)
		if other, twice := asked[all]; twice {
			t.Errorf("%s and %s show the same", other, name)
		}
		asked[all] = name
	})
}

// mirrors are limits that an alert has and panels show: what both ask, and the number in the alert's expression. With a
// unit, only the panels of that unit.
var mirrors = []struct{ alert, asks, number, unit string }{
	{"RdmaPoolExhausted", "increase(rdma_pool_exhausted_total[5m])", `> (0)$`, ""},
	{"RdmaChecksumErrors", "increase(rdma_checksum_mismatches_total[15m])", `> (0)$`, ""},
	{"RdmaChecksumErrors", "increase(rdma_client_crc_mismatches_total[15m])", `> (0)$`, ""},
	{"RdmaFallbackInUse", "increase(rdma_fallbacks_total[5m])", `> (0)$`, ""},
	{"RdmaSessionLimitNear", "instance:rdma_limit_used:ratio", `> ([\d.]+)$`, ""},
	{"RdmaPoolFillingUp", "predict_linear(instance:rdma_pool_used:ratio_max5m[", `> ([\d.]+) and`, ""},
	// When a pool is full is the same question the other way round.
	{"RdmaPoolFillingUp", "instance:rdma_pool_used:ratio_max5m", `\[1h\], ([\d.* ]+)\)`, "s"},
	{"RdmaLatencyBudgetBurnsFast", "instance:rdma_reads_slow:", `> ([\d.]+) \* 0.01`, ""},
	{"RdmaLatencyBudgetBurnsSlowly", "instance:rdma_reads_slow:", `> ([\d.]+) \* 0.01`, ""},
}

// bare is an expression without its matchers, on one line.
func bare(expr string) string {
	return strings.Join(strings.Fields(matchers.ReplaceAllString(expr, "")), " ")
}

// limitOf is the number in an alert's expression, or the product of several. Of what is counted, more than none is one.
func limitOf(t *testing.T, rule Rule, number string) float64 {
	t.Helper()
	found := regexp.MustCompile(number).FindStringSubmatch(bare(rule.Expr))
	if found == nil {
		t.Fatalf("%s has no number like %s", rule.Alert, number)
	}
	limit := 1.0
	for _, factor := range strings.Split(found[1], " * ") {
		value, err := strconv.ParseFloat(factor, 64)
		if err != nil {
			t.Fatal(err)
		}
		limit *= value
	}
	if limit == 0 {
		return 1
	}
	return limit
}

func TestWhatAnAlertMeasuresTooHasItsNumberAsAThresholdInTheColourOfItsSeverity(t *testing.T) {
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	colours := map[string][]string{"warning": {"yellow", "orange"}, "critical": {"red"}}
	for _, mirror := range mirrors {
		at := slices.IndexFunc(rules, func(rule Rule) bool {
			return rule.Alert == mirror.alert && strings.Contains(bare(rule.Expr), mirror.asks)
		})
		if at < 0 {
			t.Fatalf("%s does not ask %s", mirror.alert, mirror.asks)
		}
		limit, wanted, shown := limitOf(t, rules[at], mirror.number), colours[rules[at].Labels["severity"]], 0
		panels(t, func(name string, panel Panel, limits []Step) {
			asks := slices.ContainsFunc(panel.Targets, func(target Target) bool {
				return strings.Contains(bare(target.Expr), mirror.asks)
			})
			if !asks || mirror.unit != "" && mirror.unit != panel.FieldConfig.Defaults.Unit {
				return
			}
			shown++
			if !has(limits, limit, wanted) {
				t.Errorf("%s has no threshold %v in one of %q, as %s has", name, limit, wanted, mirror.alert)
			}
		})
		if shown == 0 {
			t.Errorf("no panel shows what %s measures: %s", mirror.alert, mirror.asks)
		}
	}
}

func has(limits []Step, value float64, colours []string) bool {
	return slices.ContainsFunc(limits, func(step Step) bool {
		return *step.Value == value && slices.Contains(colours, step.Color)
	})
}

func TestTheObjectivesTimeIsRedWhereTheTimesOfReadsAreShown(t *testing.T) {
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(rules, func(rule Rule) bool { return rule.Record == "instance:rdma_reads_slow:ratio_rate5m" })
	bound, err := strconv.ParseFloat(regexp.MustCompile(`le="([\d.]+)"`).FindStringSubmatch(rules[at].Expr)[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	panels(t, func(name string, panel Panel, limits []Step) {
		if !strings.Contains(panel.Targets[0].Expr, "histogram_quantile") ||
			!strings.Contains(panel.Targets[0].Expr, "rdma_operation_duration_seconds_bucket") {
			return
		}
		shown++
		if !has(limits, bound, []string{"red"}) {
			t.Errorf("%s is not red from %v s on", name, bound)
		}
	})
	if shown == 0 {
		t.Error("no panel shows the times of reads")
	}
}
