package main

import (
	"fmt"
	"slices"
	"strings"
)

// compare puts everything the clients counted beside what Prometheus has.
func (c *comparison) compare(l *load) {
	t := l.tally
	for _, d := range l.stack.engines() {
		c.engine(d, t)
		c.timings(d, t)
		c.live(d, l)
	}
	engines := fmt.Sprintf(`{instance=~"%s|%s"}`, l.stack.local.instance, l.stack.remote.instance)
	byClient := func(from owned, _ sample) string { return from.client }
	c.counts("reads by client %s", t.sumBy(byClient, one), "rdma_client_reads_total", engines, "client")
	c.counts("bytes by client %s", t.sumBy(byClient, bytes), "rdma_client_bytes_total", engines, "client")
	c.counts("errors by client %s", t.errorsBy(func(from owned, _ string) string { return from.client }),
		"rdma_client_errors_total", engines, "client")
	byVolume := func(_ owned, s sample) string { return fmt.Sprint(s.Volume) }
	c.counts("reads by volume %s", t.sumBy(byVolume, one), "rdma_volume_reads_total", engines, "volume")
	c.counts("bytes by volume %s", t.sumBy(byVolume, bytes), "rdma_volume_bytes_total", engines, "volume")

	sent, tooLong := 0.0, 0.0
	for _, from := range t.results {
		for _, s := range from.Reads {
			if s.Transport == "tcp" && s.At.After(t.restarted) {
				sent += bytes(s)
			}
			if s.Elapsed > s.Stopwatch || s.Completion > s.Elapsed {
				tooLong++
			}
		}
	}
	// What it sent to an engine that had given the answer up is in no reply.
	c.within(0.05, "target: bytes since it was started again", sent,
		fmt.Sprintf(`rdma_bytes_transferred_total{instance=%q,direction="read"}`, l.stack.target.instance))
	c.rows = append(c.rows, row{what: "replies that took longer than the client waited for them", prometheus: tooLong})
}

// lagMax is how long ago the volumes' files may have been looked at, in seconds: every 250 ms, and on a busy machine
// some times that.
const lagMax = 10

// engine compares what one engine counts.
func (c *comparison) engine(d *daemon, t *tally) {
	name, of := d.name+": ", func(metric, labels string) string {
		return fmt.Sprintf(`%s{instance=%q%s}`, metric, d.instance, labels)
	}
	c.below(0, name+"follow lag, s", lagMax, of("rdma_follow_lag_seconds", ""), "at most")
	byTransport := t.sumBy(func(from owned, s sample) string { return from.instance + s.Transport }, one)
	for _, transport := range []string{"local", "tcp", "verbs"} {
		c.count(name+"reads, "+transport, byTransport[d.instance+transport],
			of("rdma_reads_total", fmt.Sprintf(",transport=%q", transport)))
	}
	reads, landed := sum(t.of(d.instance, one)), sum(t.of(d.instance, bytes))
	c.count(name+"StartReads answered with a session", reads, of("rdma_operations_total", `,type="start_read",result="ok"`))
	c.count(name+"bytes", landed, of("rdma_bytes_transferred_total", `,direction="read"`))
	c.count(name+"leases of the pool", reads, of("rdma_pool_leases_total", ""))
	codes := map[string]float64{}
	for key, count := range t.errorsBy(func(from owned, code string) string { return from.instance + " " + code }) {
		if code, ok := strings.CutPrefix(key, d.instance+" "); ok {
			codes[code] = count
		}
	}
	c.counts(name+"errors, %s", codes, "rdma_errors_total", of("", ""), "code")
	c.count(name+"reads that found no room", codes["resource_exhausted"], of("rdma_pool_exhausted_total", ""))
	c.count(name+"sessions that came to their deadline", expired, of("rdma_sessions_expired_total", ""))
	c.quantiles(histogram{what: name + "size of a session, bytes", metric: "rdma_session_size_bytes",
		selector: of("", ""), values: sorted(t.of(d.instance, bytes))})
	c.count(name+"bytes of all sessions", landed, of("rdma_session_size_bytes_sum", ""))
	c.count(name+"sessions that ended", reads, of("rdma_session_lifetime_seconds_count", ""))
	c.count(name+"sessions left", 0, of("rdma_sessions_active", ""))
}

// timings compares how long one engine's reads took.
func (c *comparison) timings(d *daemon, t *tally) {
	name, selector := d.name+": ", fmt.Sprintf(`{instance=%q}`, d.instance)
	started := fmt.Sprintf(`{instance=%q,type="start_read"}`, d.instance)
	c.quantiles(histogram{what: name + "completion latency, s", metric: "rdma_completion_latency_seconds",
		selector: selector, values: sorted(t.of(d.instance, completion))}, 0.5, 0.99)
	durations := t.durations(d.instance)
	c.quantiles(histogram{what: name + "duration of a StartRead, s", metric: "rdma_operation_duration_seconds",
		selector: started, values: durations, rough: len(t.refused(d.instance))}, 0.5, 0.99)

	// The clients' own stopwatches, which the engine's can not be above.
	stopwatches := t.of(d.instance, func(s sample) float64 { return s.Stopwatch.Seconds() })
	for _, stopwatch := range t.refused(d.instance) {
		stopwatches = append(stopwatches, stopwatch.Seconds())
	}
	slices.Sort(stopwatches)
	for _, q := range []float64{0.5, 0.99} {
		c.atMost(fmt.Sprintf("%sthe same by the clients' stopwatches, s, p%v", name, q*100), exact(stopwatches, q),
			fmt.Sprintf(`histogram_quantile(%v, rdma_operation_duration_seconds_bucket%s)`, q, started))
	}
	c.within(tolerance, name+"the stages of all reads that landed, s",
		sum(t.of(d.instance, func(s sample) float64 { return s.Elapsed.Seconds() })), "rdma_read_stage_seconds_sum"+selector)

	// It is counted in whole kB/s, which for the slowest is a part of a bucket.
	throughputs := t.of(d.instance, throughput)
	c.quantiles(histogram{what: name + "throughput of a session, bytes/s",
		metric: "rdma_session_throughput_bytes_per_second", selector: selector, values: sorted(throughputs),
		rough: len(throughputs) / 100}, 0.5, 0.99)
}

func completion(s sample) float64 { return s.Completion.Seconds() }
func throughput(s sample) float64 { return bytes(s) / s.Elapsed.Seconds() }

// live compares the live picture of the sessions that were held: there while they were, and gone now.
func (c *comparison) live(d *daemon, l *load) {
	const listed = 20
	held := slices.Clone(l.held[d.instance])
	slices.Sort(held)
	top := held[max(0, len(held)-listed):]
	total := uint64(0)
	for _, b := range top {
		total += b
	}
	selector := fmt.Sprintf(`{instance=%q,client="patient"}`, d.instance)
	for _, r := range []struct {
		what   string
		driver float64
		expr   string
	}{
		{"sessions listed while many were held", float64(len(top)), "count(rdma_session_live_bytes" + selector + ")"},
		{"their bytes", float64(total), "sum(rdma_session_live_bytes" + selector + ")"},
		{"and not listed", float64(len(held) - len(top)), fmt.Sprintf("rdma_sessions_live_unlisted{instance=%q}", d.instance)},
	} {
		value, err := c.prometheus.median(c.ctx, r.expr, l.heldFor)
		c.rows = append(c.rows, row{what: d.name + ": " + r.what, driver: r.driver, prometheus: value, err: err})
	}
	for _, metric := range []string{"rdma_session_live_bytes", "rdma_session_live_age_seconds", "rdma_session_live_throughput_bytes_per_second"} {
		c.count(d.name+": "+metric+" now", 0, fmt.Sprintf("count(%s{instance=%q})", metric, d.instance))
	}
}

func sum(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}
