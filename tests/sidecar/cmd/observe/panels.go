package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

// shown is what a panel has to show over the whole run: its first query, or the one for a quantile.
type shown struct {
	dashboard, panel string
	// The label its series are told apart by, "" where it shows one figure.
	label string
	// What the clients counted, by that label; not all there is, as what a client did before its series was first
	// scraped is in no rate, and of one that came and went that may be everything.
	driver map[string]float64
	// Or the values of one engine of which it shows a quantile, and the metric whose buckets it does that with.
	values   values
	engine   *daemon
	quantile float64
	metric   string
	// Whether it shows how much of the counts came in a second.
	perSecond bool
}

// panels compares what the dashboards' own expressions give for the whole run with what the clients counted. Rates are
// extrapolated by Prometheus to the end of the time asked for, by up to a scrape: hence the tolerance.
func (c *comparison) panels(l *load, w window) error {
	dashboards, err := readDashboards(enginetest.Root())
	if err != nil {
		return err
	}
	// Targets count what they send to engines, too.
	const job = "rdma-engine"
	// From before the load, when every daemon had been scraped and counted nothing.
	length := w.to.Sub(w.from).Truncate(time.Second) + 2*time.Second
	for _, s := range c.shown(l) {
		expr, err := s.find(dashboards)
		if err == nil {
			values := builtin(w)
			values["job"], values["instance"], values["volume"], values["transport"] = job, ".*", ".*", ".*"
			if s.engine != nil {
				values["instance"] = s.engine.instance
			}
			values["__rate_interval"], values["__range"] = fmt.Sprintf("%.0fs", length.Seconds()), fmt.Sprintf("%.0fs", length.Seconds())
			expr, err = substitute(expr, values)
		}
		if err != nil {
			c.rows = append(c.rows, row{what: s.panel, err: err})
			continue
		}
		c.panel(s, expr, length)
	}
	return nil
}

// find returns the panel's query.
func (s shown) find(dashboards []dashboard) (string, error) {
	expr := ""
	for _, d := range dashboards {
		if !strings.HasSuffix(d.Title, s.dashboard) {
			continue
		}
		queries(d.Panels, func(title, found string) {
			if title == s.panel && expr == "" && (s.metric == "" || strings.Contains(found, fmt.Sprintf("(%v,", s.quantile))) {
				expr = found
			}
		})
	}
	if expr == "" {
		return "", fmt.Errorf("no such panel in %s: see panels.go", s.dashboard)
	}
	return expr, nil
}

func (c *comparison) panel(s shown, expr string, length time.Duration) {
	results, err := c.prometheus.query(c.ctx, expr, c.at)
	found := map[string]float64{}
	for _, result := range results {
		found[result.labels[s.label]] = result.points[0].value
	}
	what := fmt.Sprintf("%s: %s", s.dashboard, s.panel)
	for _, name := range sortedKeys(s.driver) {
		driver := s.driver[name]
		if s.perSecond {
			driver /= length.Seconds()
		}
		c.rows = append(c.rows, row{what: strings.TrimSuffix(what+", "+name, ", "), driver: driver, prometheus: found[name],
			allowed: tolerance, err: err})
	}
	if s.engine == nil {
		return
	}
	counts, bucketsErr := c.prometheus.buckets(c.ctx, s.metric+"_bucket", c.at)
	if err == nil {
		err = bucketsErr
	}
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%d results, not one", len(results))
	}
	value := math.NaN()
	for _, only := range found {
		value = only
	}
	c.quantileIs(fmt.Sprintf("%s, %s p%v", what, s.engine.name, s.quantile*100), s.values, s.quantile,
		sortedKeys(counts), value, err)
}

// shown are the panels about what the clients count themselves.
func (c *comparison) shown(l *load) []shown {
	t := l.tally
	byClient := func(from owned, _ sample) string { return from.client }
	byVolume := func(_ owned, s sample) string { return fmt.Sprint(s.Volume) }
	byTransport := func(_ owned, s sample) string { return s.Transport }
	// Those that were there from the first to the last.
	lasting := func(value func(sample) float64) map[string]float64 {
		sums := t.sumBy(byClient, value)
		for client := range sums {
			if !slices.Contains([]string{"thumbnails", "video", "backup", "search"}, client) {
				delete(sums, client)
			}
		}
		return sums
	}
	all := func(owned, sample) string { return "" }
	panels := []shown{
		{dashboard: "Operations", panel: "Reads", driver: t.sumBy(all, one), perSecond: true},
		{dashboard: "Operations", panel: "Throughput", driver: t.sumBy(all, bytes), perSecond: true},
		{dashboard: "Operations", panel: "Reads by transport", label: "transport", driver: t.sumBy(byTransport, one), perSecond: true},
		{dashboard: "Operations", panel: "Reads by client", label: "client", driver: lasting(one), perSecond: true},
		{dashboard: "Operations", panel: "Reads by volume", label: "volume", driver: t.sumBy(byVolume, one), perSecond: true},
		{dashboard: "Operations", panel: "Errors by code", label: "code", perSecond: true,
			driver: t.errorsBy(func(_ owned, code string) string { return code })},
		{dashboard: "Capacity", panel: "Top clients", label: "client", driver: lasting(bytes)},
		{dashboard: "Capacity", panel: "Top volumes", label: "volume", driver: t.sumBy(byVolume, bytes)},
	}
	for _, d := range l.stack.engines() {
		completions, durations := sorted(t.of(d.instance, completion)), t.durations(d.instance)
		for _, q := range []float64{0.5, 0.99} {
			panels = append(panels,
				shown{dashboard: "Operations", panel: "Completion latency by transport", values: completions, engine: d,
					quantile: q, metric: "rdma_completion_latency_seconds"},
				shown{dashboard: "Operations", panel: "Reads, request to answer", values: durations, engine: d,
					quantile: q, metric: "rdma_operation_duration_seconds"})
		}
		panels = append(panels, shown{dashboard: "Operations", panel: "Throughput of a session",
			values: sorted(t.of(d.instance, throughput)), engine: d, quantile: 0.5, metric: "rdma_session_throughput_bytes_per_second"})
	}
	return panels
}
