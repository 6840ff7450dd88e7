package tasks

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// Fleet collects what all processes of a namespace share: its queues, its jobs,
// and what the gate believes and holds. Each process tells the same, so of
// several take the maximum, never the sum.
//
// It reads when it is asked, at most once in freshFor. What cannot be read is left
// out, since what stood there before may be wrong by now.
type Fleet struct {
	FleetParts

	mu    sync.Mutex
	taken time.Time
	last  []prometheus.Metric

	queueTasks, queueLatency, scraped *prometheus.Desc
	jobs, blocked, pending, late      *prometheus.Desc
	workers, census                   *prometheus.Desc
	limit, used, held, breaker        *prometheus.Desc
	warning                           seldom
	told                              time.Time // of late jobs
}

// FleetParts are what a Fleet looks at.
type FleetParts struct {
	Ledger *ledger.Ledger
	Gate   *gate.Gate
	Queue  *Queue
	Log    *slog.Logger
}

const (
	freshFor   = time.Second
	lookWithin = 3 * time.Second // of the ten that Prometheus waits
	tellLate   = 10 * time.Minute
	// censusFor is how old a census may be and still be told.
	censusFor = time.Minute
)

// NewFleet returns a collector to register.
func NewFleet(parts FleetParts) *Fleet {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("crier_"+name, help, labels, nil)
	}
	return &Fleet{
		FleetParts:   parts,
		queueTasks:   desc("queue_tasks", "Tasks of asynq's queues. One is a slot token, not a target: see crier_pending_targets.", "queue", "state"),
		queueLatency: desc("queue_latency_seconds", "Age of the oldest task that waits.", "queue"),
		scraped:      desc("queue_scrape_success", "1 if this process could read the queues just now; 0: what all share is not told."),
		jobs:         desc("jobs", "Jobs of the fleet; those that have ended as long as their record is kept, a little late.", "state"),
		blocked:      desc("jobs_blocked", "Running jobs of the fleet that stand still, by the reason.", "reason"),
		pending:      desc("pending_targets", "Targets of running jobs that have no outcome yet.", "target_type", "priority"),
		late:         desc("jobs_late", "Running jobs that will not be done before they expire, at their pace so far; none of those whose calls are held, but for a quota."),
		workers:      desc("workers", "Workers that Redis has heard of in the last seconds."),
		census:       desc("census_timestamp_seconds", "When the jobs were last counted, by any process."),
		limit:        desc("quota_limit", "What the fleet may send in a second, as configured or learned; 0 = no limit is known.", "target_type", "unit"),
		used:         desc("quota_used_ratio", "Part of the quota that the fleet was granted in the last half minute or so.", "target_type"),
		held:         desc("calls_held", "1 while calls for such targets are held, or wait more than five seconds for their quota, by the reason.", "target_type", "reason"),
		breaker:      desc("breaker_open", "1 while the API is taken to be away."),
	}
}

// Describe is for prometheus.Collector.
func (f *Fleet) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		f.queueTasks, f.queueLatency, f.scraped, f.jobs, f.blocked, f.pending, f.late, f.workers, f.census, f.limit, f.used, f.held, f.breaker,
	} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (f *Fleet) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.taken) > freshFor {
		f.last = f.look()
		f.taken = time.Now()
	}
	for _, m := range f.last {
		ch <- m
	}
}

// look reads everything. One part that cannot be read does not hide the others,
// but where the first fails Redis is away, and asynq would wait for it for long.
func (f *Fleet) look() []prometheus.Metric {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	s := &sight{}
	err := s.part(ctx, f.lookAtWorkers)
	scraped := 0.0
	if err == nil {
		queues := s.part(ctx, f.lookAtQueues)
		if queues == nil {
			scraped = 1
		}
		err = errors.Join(queues, s.part(ctx, f.lookAtJobs), s.part(ctx, f.lookAtQuotas))
	}
	s.gauge(f.scraped, scraped)
	if err != nil && f.warning.due() {
		f.Log.Warn("what the fleet shares cannot be told to Prometheus", "error", err)
	}
	return s.metrics
}

// sight is what was seen.
type sight struct{ metrics []prometheus.Metric }

// part reads a part of it, wholly or not at all.
func (s *sight) part(ctx context.Context, read func(context.Context, *sight) error) error {
	var part sight
	err := read(ctx, &part)
	if err == nil {
		s.metrics = append(s.metrics, part.metrics...)
	}
	return err
}

func (s *sight) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.metrics = append(s.metrics, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
}

func (f *Fleet) lookAtWorkers(ctx context.Context, s *sight) error {
	alive, err := f.Ledger.Alive(ctx)
	s.gauge(f.workers, float64(len(alive)))
	return err
}

func (f *Fleet) lookAtQueues(ctx context.Context, s *sight) error {
	for _, name := range f.Queue.names() {
		load, err := f.Queue.load(ctx, name)
		if err != nil {
			return err
		}
		for _, state := range taskStates() {
			s.gauge(f.queueTasks, float64(load.tasks[state]), name, state.String())
		}
		s.gauge(f.queueLatency, load.latency.Seconds(), name)
	}
	return nil
}

// lookAtJobs tells what the census says, and which of the running jobs stand still.
func (f *Fleet) lookAtJobs(ctx context.Context, s *sight) error {
	census, err := f.Ledger.Census(ctx)
	if err != nil || census.At.IsZero() { // the first one is being taken elsewhere
		return err
	}
	s.gauge(f.census, float64(census.At.UnixMilli())/1000)
	now, err := f.Ledger.Clock(ctx)
	if err != nil || now.Sub(census.At) > censusFor {
		return err // it is too old to be told: its own time says so
	}
	jobs := map[ledger.State]int{
		ledger.StateLoading: 0, ledger.StateScheduled: 0, ledger.StateRunning: 0, ledger.StatePaused: 0,
	}
	maps.Copy(jobs, census.Past) // nothing until all records were seen once
	running := map[string]int{}
	pending := map[[2]string]int64{}
	for _, g := range census.Open {
		jobs[g.State] += g.Jobs
		if g.State == ledger.StateRunning {
			running[g.TargetType] += g.Jobs
			pending[[2]string{g.TargetType, g.Priority}] += g.Pending
		}
	}
	for state, n := range jobs {
		s.gauge(f.jobs, float64(n), string(state))
	}
	late := map[string][]string{}
	for _, j := range census.Late {
		late[j.TargetType] = append(late[j.TargetType], j.ID)
	}
	return f.lookAtHolds(ctx, s, standing{running, late, pending})
}

// standing is the running jobs by target type.
type standing struct {
	running map[string]int
	late    map[string][]string // ids
	pending map[[2]string]int64 // targets, by priority too
}

// lookAtHolds tells what is left of running jobs, and whether they stand still.
func (f *Fleet) lookAtHolds(ctx context.Context, s *sight, jobs standing) error {
	blocked := map[gate.Reason]int{}
	away := 0.0
	var late []string
	for _, t := range apiclient.TargetTypes() {
		for _, p := range priorities() {
			s.gauge(f.pending, float64(jobs.pending[[2]string{string(t), p}]), string(t), p)
		}
		block, err := f.Gate.Blocked(ctx, string(t))
		if err != nil {
			return err
		}
		if block.Reason == gate.ReasonOutage {
			away = 1
		}
		blocked[block.Reason] += jobs.running[string(t)]
		if block.Reason == "" || block.Reason == gate.ReasonQuota { // else the pace so far says nothing
			late = append(late, jobs.late[string(t)]...)
		}
		for _, reason := range gate.Reasons() {
			held := 0.0
			if reason == block.Reason {
				held = 1
			}
			s.gauge(f.held, held, string(t), string(reason))
		}
	}
	for _, reason := range gate.Reasons() {
		s.gauge(f.blocked, float64(blocked[reason]), string(reason))
	}
	s.gauge(f.breaker, away)
	s.gauge(f.late, float64(len(late)))
	if len(late) > 0 && time.Since(f.told) > tellLate {
		f.told = time.Now()
		f.Log.Warn("jobs will not be done before they expire", "jobs", late[:min(len(late), 20)], "count", len(late))
	}
	return nil
}

func (f *Fleet) lookAtQuotas(ctx context.Context, s *sight) error {
	limits, err := LimitsInForce(ctx, f.Ledger) // the gateway has none of its own
	if err != nil {
		return err
	}
	known, err := limits.quotas()
	if err != nil {
		return err
	}
	for _, t := range apiclient.TargetTypes() {
		beliefs, err := f.Gate.Beliefs(ctx, string(t), known)
		if err != nil {
			return err
		}
		used := 0.0
		for _, b := range beliefs {
			s.gauge(f.limit, b.Rate, string(t), string(b.Scope))
			used = max(used, b.Used)
		}
		s.gauge(f.used, used, string(t))
	}
	return nil
}
