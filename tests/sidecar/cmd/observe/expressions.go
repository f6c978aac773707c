package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"rdma-engine/sidecar/internal/enginetest"
)

// expressions runs everything that dashboards, rules and alerts ask, over the window of the run.
type expressions struct {
	ctx        context.Context
	prometheus *prometheus
	// From when the load began.
	load window
	// From when Prometheus began, and no daemon ran yet.
	whole window
	out   io.Writer

	run, withData, empty, wrong int
}

// check runs all of them and returns how many are not as they should be.
func (e *expressions) check() (wrong int, err error) {
	dashboards, err := readDashboards(enginetest.Root())
	if err != nil {
		return 0, err
	}
	for _, d := range dashboards {
		e.dashboard(d)
	}
	rules, err := e.prometheus.rules(e.ctx)
	if err != nil {
		return 0, err
	}
	alerts := map[string]bool{}
	for _, r := range rules {
		if r.Health != "ok" {
			e.complain("rule "+r.Name, "is not healthy: %s", r.LastError)
		}
		if r.alerting() {
			alerts[r.title()] = true
			e.alert(r)
			continue
		}
		e.expression("rule "+r.Name, r.Query)
		e.expression("what rule "+r.Name+" records", r.Name+labelled(r.Labels))
	}
	if len(rules) == 0 || len(alerts) == len(rules) || len(alerts) == 0 {
		e.complain("the rules", "are not all there: %d, of them %d alerts", len(rules), len(alerts))
	}
	for title := range induced {
		if !alerts[title] {
			e.complain("alert "+title, "is gone: nothing tells of trouble that was caused")
		}
	}
	fmt.Fprintf(e.out, "%d expressions run: %d with data, %d empty as they should be, %d wrong\n", e.run, e.withData, e.empty, e.wrong)
	return e.wrong, nil
}

func (e *expressions) complain(where, format string, values ...any) {
	e.wrong++
	fmt.Fprintf(e.out, "  WRONG: %s %s\n", where, fmt.Sprintf(format, values...))
}

// values are those that a dashboard's variables have when it is opened.
func (e *expressions) values(d dashboard) map[string]string {
	values := builtin(e.load)
	for _, v := range d.Templating.List {
		value, err := e.variable(v, values)
		if err != nil {
			e.complain(fmt.Sprintf("%s, variable %s", d.Title, v.Name), "%v", err)
		}
		values[v.Name] = value
	}
	return values
}

// dashboard runs the expressions of a dashboard.
func (e *expressions) dashboard(d dashboard) {
	values := e.values(d)
	run := func(where, expr string) {
		substituted, err := substitute(expr, values)
		if err != nil {
			e.complain(where, "%v", err)
			return
		}
		e.expression(where, substituted)
	}
	queries(d.Panels, func(title, expr string) { run(fmt.Sprintf("%s, panel %q", d.Title, title), expr) })
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			run(fmt.Sprintf("%s, annotation %q", d.Title, a.Name), a.Expr)
		}
	}
}

// builtin are Grafana's own variables for a graph of this window.
func builtin(w window) map[string]string {
	length := w.to.Sub(w.from)
	return map[string]string{
		"__interval": "1s", "__interval_ms": "1000", "__rate_interval": "15s",
		"__range": fmt.Sprintf("%.0fs", length.Seconds()), "__range_s": fmt.Sprintf("%.0f", length.Seconds()),
		"__range_ms": fmt.Sprint(length.Milliseconds()),
		"__from":     fmt.Sprint(w.from.UnixMilli()), "__to": fmt.Sprint(w.to.UnixMilli()),
	}
}

// variable is the value a variable has when the dashboard is opened. One that lists values has to list some.
func (e *expressions) variable(v variable, values map[string]string) (string, error) {
	if v.Type != "query" {
		value := v.current()
		if value == "" {
			value, _, _ = strings.Cut(v.query(), ",")
		}
		return value, nil
	}
	query, err := substitute(v.query(), values)
	if err != nil {
		return "", err
	}
	match := labelValues.FindStringSubmatch(query)
	if match == nil {
		return "", fmt.Errorf("asks %s, not for label_values", query)
	}
	e.run++
	found, err := e.prometheus.labelValues(e.ctx, strings.TrimSpace(match[1]), match[2], e.load)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("has no values: %s", query)
	}
	e.withData++
	switch {
	case v.IncludeAll && v.AllValue != "":
		return v.AllValue, nil
	case v.IncludeAll:
		return strings.Join(found, "|"), nil
	}
	return found[0], nil
}

// expression runs one that should have data at some time of the run.
func (e *expressions) expression(where, expr string) {
	e.run++
	results, err := e.prometheus.queryRange(e.ctx, expr, e.load)
	switch {
	case err != nil:
		e.complain(where, "%v", err)
	case hasData(results):
		e.withData++
	default:
		e.complain(where, "has no data: %s", expr)
	}
}

// alert runs an alert's expression, leaving its `for` aside. What was caused has to be seen by it; anything else not.
func (e *expressions) alert(r rule) {
	e.run++
	where := "alert " + r.title()
	w, caused := e.load, induced[r.title()]
	if caused == beforeTheLoad {
		w = e.whole
	}
	results, err := e.prometheus.queryRange(e.ctx, r.Query, w)
	reason, quiet := uncaused[r.title()]
	switch {
	case err != nil:
		e.complain(where, "%v", err)
	case caused == "" && !quiet:
		e.complain(where, "is neither among those caused nor among those not: add it to expected.go")
	case caused != "" && len(results) == 0:
		e.complain(where, "does not see: %s", caused)
	case caused != "":
		e.withData++
		fmt.Fprintf(e.out, "  seen: %s, for %v: %s\n", where, trueFor(results), caused)
	case len(results) > 0:
		e.complain(where, "is true for %v, though %s: %s", trueFor(results), reason, labelled(results[0].labels))
	default:
		e.empty++
		fmt.Fprintf(e.out, "  empty: %s: %s\n", where, reason)
	}
}

// trueFor is the longest time that one of the results was there.
func trueFor(results []series) time.Duration {
	longest := 0
	for _, result := range results {
		longest = max(longest, len(result.points))
	}
	return time.Duration(longest) * time.Second
}

// title tells alerts of one name apart.
func (r rule) title() string {
	if kind := r.Labels["kind"]; kind != "" {
		return r.Name + " " + kind
	}
	return r.Name
}
