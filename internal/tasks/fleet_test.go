package tasks

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// seen gathers a fleet's gauges: name{labels} -> value.
func (r *rig) seen() map[string]float64 {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewFleet(FleetParts{
		Ledger: r.book, Gate: r.gate, Queue: r.queue(), Log: slog.New(slog.DiscardHandler),
	}))
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			values[f.GetName()+labelsOf(m)] = m.Gauge.GetValue()
		}
	}
	return values
}

func (r *rig) queue() *Queue { return NewQueue(r.redis.Client(), "crier") }

func labelsOf(m *dto.Metric) string {
	var all []string
	for _, l := range m.Label {
		all = append(all, l.GetValue())
	}
	if len(all) == 0 {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}

func (r *rig) expectSeen(want map[string]float64) {
	r.t.Helper()
	got := r.seen()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, there := got[name]; !there || value != want[name] {
			r.t.Errorf("%s is %v (told: %v), want %v", name, value, there, want[name])
		}
	}
}

// What the fleet has to do adds up to the ledger; before there is anything, it
// is told to be nothing.
func TestFleetIsSeen(t *testing.T) {
	r := newRig(t, nil)
	r.expectSeen(map[string]float64{
		"crier_queue_scrape_success": 1, "crier_queue_tasks{crier-bulk,pending}": 0, "crier_queue_tasks{crier-intake,archived}": 0,
		"crier_queue_latency_seconds{crier-urgent}": 0, "crier_jobs{running}": 0, "crier_jobs{finished}": 0, "crier_workers": 0,
		"crier_pending_targets{bulk,users}": 0, "crier_jobs_blocked{outage}": 0, "crier_breaker_open": 0,
		"crier_quota_limit{users,calls}": 0, "crier_quota_used_ratio{chatrooms}": 0,
	})
	for _, key := range []string{"crier:census", "crier:lock:census"} { // it counts for some seconds
		if err := r.redis.Client().Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.submitWithoutTokens("j1")
	if err := r.queue().PutTokens(t.Context(), "j1", false, 2); err != nil {
		t.Fatal(err)
	}
	job, err := r.book.Job(t.Context(), "j1")
	if err != nil {
		t.Fatal(err)
	}
	r.expectSeen(map[string]float64{
		"crier_jobs{running}": 1, "crier_jobs{loading}": 0, "crier_pending_targets{bulk,users}": float64(job.Pending),
		"crier_queue_tasks{crier-bulk,pending}": 2, "crier_jobs_late": 0,
	})
}

// What workers have published as the quota is told by processes too that were
// told none, and what was learned beyond it is not.
func TestPublishedQuotaIsSeen(t *testing.T) {
	r := newRig(t, nil)
	limits := DefaultLimits(apiclient.FormUnified)
	limits.Quota = "users=100/s,6000t/m"
	if err := limits.Publish(t.Context(), r.book); err != nil {
		t.Fatal(err)
	}
	for learned, want := range map[string]float64{"5000": 100, "80": 80} {
		if err := r.redis.Client().HSet(t.Context(), "crier:{gate:users}:targets", "rate", learned, "grow", "0").Err(); err != nil {
			t.Fatal(err)
		}
		r.expectSeen(map[string]float64{
			"crier_quota_limit{users,calls}": 100, "crier_quota_limit{users,targets}": want, "crier_quota_limit{chatrooms,calls}": 0,
		})
	}
}

// A task whose record is gone hides nothing, and a queue that asynq does not know
// (Redis came back empty) is told all the same.
func TestBrokenTasksAreCounted(t *testing.T) {
	r := newRig(t, nil)
	client := r.redis.Client()
	for key, id := range map[string]string{"pending": "gone1", "active": "gone2"} {
		if err := client.LPush(t.Context(), "asynq:{crier-bulk}:"+key, id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.queue().PutTokens(t.Context(), "j1", true, 3); err != nil {
		t.Fatal(err)
	}
	client.Del(t.Context(), "asynq:queues")
	client.SAdd(t.Context(), "asynq:queues", "crier-bulk")
	r.expectSeen(map[string]float64{
		"crier_queue_scrape_success": 1, "crier_queue_tasks{crier-bulk,pending}": 1, "crier_queue_tasks{crier-bulk,active}": 1,
		"crier_queue_tasks{crier-urgent,pending}": 3,
	})
	waiting, err := r.queue().waiting(t.Context(), false)
	if err != nil || !waiting {
		t.Errorf("a sweep could not tell that tokens wait: %v, %v", waiting, err)
	}
	load, err := r.queue().load(t.Context(), "crier-urgent")
	if err != nil || load.tasks[asynq.TaskStatePending] != 3 || load.latency <= 0 {
		t.Errorf("%+v, %v", load, err)
	}
}

// While another process takes the first census of all, nothing is told of jobs.
func TestFleetBeforeTheFirstCensus(t *testing.T) {
	r := newRig(t, nil)
	if err := r.redis.Client().Set(t.Context(), "crier:lock:census", "another", 0).Err(); err != nil {
		t.Fatal(err)
	}
	got := r.seen()
	_, counted := got["crier_census_timestamp_seconds"]
	if _, told := got["crier_jobs{running}"]; counted || told || got["crier_queue_scrape_success"] != 1 {
		t.Errorf("%v", got)
	}
}

// Of a Redis that does not answer nothing is told but that.
func TestFleetUnseen(t *testing.T) {
	r := newRig(t, nil)
	r.redis.Kill()
	if got := r.seen(); len(got) != 1 || got["crier_queue_scrape_success"] != 0 {
		t.Errorf("%v", got)
	}
}

// Names, types and units are as Prometheus wants them, and the series are there
// from the start.
func TestMetricsAreLinted(t *testing.T) {
	r := newRig(t, nil)
	registry := NewRegistry("v1")
	NewMetrics(registry, apiclient.FormSplit)
	registry.MustRegister(NewFleet(FleetParts{
		Ledger: r.book, Gate: r.gate, Queue: r.queue(), Log: slog.New(slog.DiscardHandler),
	}))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for name, want := range map[string]int{
		"crier_targets_total": 12, "crier_resent_targets_total": 3, "crier_throttled_total": 6, "crier_intake_total": 3,
		"crier_batches_total": 3 * len(results()), "crier_chat_request_duration_seconds": 5, "crier_gate_wait_seconds": 2,
		"crier_jobs": len(ledger.States()), "crier_build_info": 1, "crier_urgent_latency_seconds": 1,
	} {
		if n, err := testutil.GatherAndCount(registry, name); n != want || err != nil {
			t.Errorf("%d series of %s, want %d: %v", n, name, want, err)
		}
	}
}
