package test

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"crier/internal/chatsim"
)

var update = flag.Bool("update", false, "write the generated part of docs/metrics.md")

const (
	metricsPage  = "../docs/metrics.md"
	metricsBegin = "<!-- generated: go test ./test -run TestMetricsPage -update -->\n"
	metricsEnd   = "<!-- end -->\n"
)

// scrape fetches and parses what a process tells Prometheus.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	status, text := get(t, url+"/metrics")
	if status != 200 {
		t.Fatalf("/metrics answers %d: %s", status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// sum adds up the counters, gauges or observations that have all of these labels,
// NAME=VALUE.
func sum(family *dto.MetricFamily, labels ...string) (total float64) {
series:
	for _, m := range family.GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[fmt.Sprintf("%s=%s", l.GetName(), l.GetValue())] = true
		}
		for _, label := range labels {
			if !have[label] {
				continue series
			}
		}
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return total
}

// All that the contract names is there from the start, on worker and gateway.
var contracted = []string{
	"targets_total{outcome,target_type}", "resent_targets_total{target_type}", "batches_total{result,target_type}",
	"chat_requests_total{code,endpoint}", "chat_request_duration_seconds{endpoint}", "batch_targets", "batch_bytes",
	"retries_total{reason}", "throttled_total{kind,target_type}", "gate_wait_seconds{priority}", "quota_limit{target_type,unit}",
	"quota_used_ratio{target_type}", "jobs{state}", "jobs_blocked{reason}", "queue_tasks{queue,state}", "queue_latency_seconds{queue}",
	"queue_scrape_success", "job_duration_seconds{priority}", "urgent_latency_seconds", "token_refreshes_total{result}",
	"breaker_open", "build_info{version}",
}

// The page of metrics is what worker and gateway tell before anything has happened.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	worker, gateway := scrape(t, w.worker().admin(t)), scrape(t, w.serve().url)
	for _, want := range contracted {
		for where, families := range map[string]map[string]*dto.MetricFamily{"worker": worker, "gateway": gateway} {
			name, _, _ := strings.Cut(want, "{")
			if f := families["crier_"+name]; f == nil || name+labelNames(f) != want {
				t.Errorf("the %s does not tell %s", where, want)
			}
		}
	}
	both := maps.Clone(worker)
	maps.Copy(both, gateway)
	var table strings.Builder
	table.WriteString(metricsBegin + "\n| metric | kind | on | what it tells |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(both)) {
		if !strings.HasPrefix(name, "crier_") {
			continue
		}
		f, where := both[name], "both"
		switch {
		case worker[name] == nil:
			where = "gateway"
		case gateway[name] == nil:
			where = "worker"
		}
		fmt.Fprintf(&table, "| `%s%s` | %s | %s | %s |\n", name, labelNames(f), strings.ToLower(f.GetType().String()), where, f.GetHelp())
	}
	table.WriteString("\n" + metricsEnd)

	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), metricsBegin)
	_, after, ended := strings.Cut(rest, metricsEnd)
	if !found || !ended {
		t.Fatalf("%s has no generated part", metricsPage)
	}
	want := before + table.String() + after
	if *update {
		if err := os.WriteFile(metricsPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("%s is not what the programs tell; write it anew with\n%s", metricsPage, metricsBegin)
	}
}

// labelNames are those of a metric, as in {a,b}.
func labelNames(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.Metric[0].Label {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return "{" + strings.Join(names, ",") + "}"
}

// What the metrics say adds up to the ledger, and to what the API has seen.
func TestMetricsAddUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) {
		c.Faults = []chatsim.Fault{{Kind: chatsim.FaultUnavailable, Percent: 20}}
	})
	admin := w.worker().admin(t)
	names := make([]string, 5000)
	for i := range names {
		names[i] = fmt.Sprintf("u%d", i)
	}
	w.send("--targets", writeList(t, ".txt", names), "--type", "txt", "--text", "x", "--id", "bulk")
	w.send("--target", "z1", "--target", "z2", "--type", "txt", "--text", "x", "--priority", "urgent", "--id", "code")
	w.send("--target", "z3", "--type", "txt", "--text", "x", "--id", "later", "--send-at", "2999-01-01T00:00:00Z")
	w.wait("bulk", 0)
	w.wait("code", 0)
	w.succeed("cancel", "later")
	var total status
	for _, id := range []string{"bulk", "code", "later"} {
		s := w.status(id)
		total.Sent, total.Cancelled, total.Calls = total.Sent+s.Sent, total.Cancelled+s.Cancelled, total.Calls+s.Calls
	}
	var seen map[string]*dto.MetricFamily
	eventually(t, "the metrics are the ledger's", func() bool {
		seen = scrape(t, admin)
		return sum(seen["crier_targets_total"], "outcome=sent") == float64(total.Sent) &&
			sum(seen["crier_targets_total"], "outcome=cancelled") == float64(total.Cancelled) &&
			sum(seen["crier_batches_total"]) == float64(total.Calls) &&
			sum(seen["crier_jobs"], "state=finished") == 2 && sum(seen["crier_jobs"], "state=cancelled") == 1
	})
	if total.Sent != 5002 || total.Cancelled != 1 {
		t.Errorf("the ledger says %+v", total)
	}
	stats := w.sim.Stats()
	for what, values := range map[string][2]float64{
		"requests and calls of the ledger":   {sum(seen["crier_chat_requests_total"], "endpoint=messages"), float64(total.Calls)},
		"requests and those that have come":  {sum(seen["crier_chat_requests_total"], "endpoint=messages"), float64(stats.Calls)},
		"durations and requests":             {sum(seen["crier_chat_request_duration_seconds"], "endpoint=messages"), float64(total.Calls)},
		"calls by targets and by bytes":      {sum(seen["crier_batch_targets"]), sum(seen["crier_batch_bytes"])},
		"retries and calls refused with 503": {sum(seen["crier_retries_total"], "reason=unavailable"), sum(seen["crier_chat_requests_total"], "code=503")},
		"urgent calls that were answered":    {sum(seen["crier_urgent_latency_seconds"]), 1},
		"jobs that have ended":               {sum(seen["crier_job_duration_seconds"]), 3},
	} {
		if values[0] != values[1] {
			t.Errorf("%s: %v, %v", what, values[0], values[1])
		}
	}
}
