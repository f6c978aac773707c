package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prometheus asks a Prometheus server over its HTTP API.
type prometheus struct{ url string }

// series is one of a query's results: one point for an instant query, several for a range.
type series struct {
	labels map[string]string
	points []point
}

type point struct {
	at    float64
	value float64
}

// query evaluates expr at one time.
func (p *prometheus) query(ctx context.Context, expr string, at time.Time) ([]series, error) {
	return p.evaluate(ctx, "query", url.Values{"query": {expr}, "time": {stamp(at)}})
}

// queryRange evaluates expr every step from one time to another.
func (p *prometheus) queryRange(ctx context.Context, expr string, w window) ([]series, error) {
	return p.evaluate(ctx, "query_range", url.Values{"query": {expr}, "start": {stamp(w.from)}, "end": {stamp(w.to)},
		"step": {"1"}})
}

// window is a stretch of time.
type window struct{ from, to time.Time }

func stamp(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }

func (p *prometheus) evaluate(ctx context.Context, path string, form url.Values) ([]series, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.call(ctx, path, form, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", form.Get("query"), err)
	}
	if data.ResultType == "scalar" {
		var value point
		err := json.Unmarshal(data.Result, &value)
		return []series{{points: []point{value}}}, err
	}
	var results []struct {
		Metric map[string]string
		Value  *point
		Values []point
	}
	if err := json.Unmarshal(data.Result, &results); err != nil {
		return nil, fmt.Errorf("%s: %w", form.Get("query"), err)
	}
	all := make([]series, len(results))
	for i, result := range results {
		all[i] = series{labels: result.Metric, points: result.Values}
		if result.Value != nil {
			all[i].points = []point{*result.Value}
		}
	}
	return all, nil
}

// UnmarshalJSON reads [seconds, "value"].
func (v *point) UnmarshalJSON(text []byte) error {
	var value string
	if err := json.Unmarshal(text, &[]any{&v.at, &value}); err != nil {
		return err
	}
	var err error
	v.value, err = strconv.ParseFloat(value, 64)
	return err
}

// call asks the API for path and decodes the data of its answer.
func (p *prometheus) call(ctx context.Context, path string, form url.Values, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/"+path+"?"+form.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := local.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// value is the sum of what expr gives at one time, 0 where it gives nothing.
func (p *prometheus) value(ctx context.Context, expr string, at time.Time) (float64, error) {
	results, err := p.query(ctx, expr, at)
	sum := 0.0
	for _, result := range results {
		sum += result.points[0].value
	}
	return sum, err
}

// buckets are the counts of a histogram's buckets by their upper bounds, summed over the series a selector names.
func (p *prometheus) buckets(ctx context.Context, selector string, at time.Time) (map[float64]float64, error) {
	results, err := p.query(ctx, fmt.Sprintf("sum by (le) (%s)", selector), at)
	if err == nil && len(results) == 0 {
		err = fmt.Errorf("%s has no buckets", selector)
	}
	counts := map[float64]float64{}
	for _, result := range results {
		bound, parseErr := strconv.ParseFloat(result.labels["le"], 64)
		err = errors.Join(err, parseErr)
		counts[bound] = result.points[0].value
	}
	return counts, err
}

// median is the median of what expr, which gives at most one series, was in a window; NaN where it was nothing.
func (p *prometheus) median(ctx context.Context, expr string, w window) (float64, error) {
	results, err := p.queryRange(ctx, expr, w)
	if len(results) > 1 {
		return 0, fmt.Errorf("%s has %d results, not one", expr, len(results))
	}
	var values []float64
	for _, result := range results {
		for _, point := range result.points {
			values = append(values, point.value)
		}
	}
	slices.Sort(values)
	return exact(values, 0.5), err
}

// scrapedSince waits until each of the n targets has been scraped successfully after a time, and returns one
// after these scrapes.
func (p *prometheus) scrapedSince(ctx context.Context, n int, after time.Time) (time.Time, error) {
	fresh := fmt.Sprintf("count(timestamp(up) > %s and up == 1)", stamp(after))
	for limit := time.Now().Add(startLimit); ; {
		now := time.Now()
		count, err := p.value(ctx, fresh, now)
		if err != nil || int(count) == n {
			return now, err
		}
		if now.After(limit) {
			return now, fmt.Errorf("%v of %d targets were scraped within %v", count, n, startLimit)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return now, err
		}
	}
}

// rule is a recording or an alerting rule as Prometheus runs it.
type rule struct {
	Name, Query, Type, Health, LastError string
	Labels                               map[string]string
}

func (r rule) alerting() bool { return r.Type == "alerting" }

// rules are all the rules loaded.
func (p *prometheus) rules(ctx context.Context) ([]rule, error) {
	var data struct{ Groups []struct{ Rules []rule } }
	if err := p.call(ctx, "rules", nil, &data); err != nil {
		return nil, err
	}
	var all []rule
	for _, group := range data.Groups {
		all = append(all, group.Rules...)
	}
	return all, nil
}

// labelValues are the values a label has in the series a selector names, in a window.
func (p *prometheus) labelValues(ctx context.Context, selector, label string, w window) ([]string, error) {
	form := url.Values{"start": {stamp(w.from)}, "end": {stamp(w.to)}}
	if selector != "" {
		form.Set("match[]", selector)
	}
	var values []string
	err := p.call(ctx, "label/"+label+"/values", form, &values)
	return values, err
}

// hasData reports whether results have a number to show: what is not a number at any time is none.
func hasData(results []series) bool {
	for _, result := range results {
		for _, point := range result.points {
			if !math.IsNaN(point.value) {
				return true
			}
		}
	}
	return false
}

// labelled writes labels as PromQL does.
func labelled(labels map[string]string) string {
	var parts []string
	for _, name := range sortedKeys(labels) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
