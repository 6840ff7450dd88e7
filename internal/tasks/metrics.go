package tasks

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// metrics are what a worker tells Prometheus of its own deliveries. No label
// depends on what users send.
type metrics struct {
	targets     *prometheus.CounterVec
	resent      *prometheus.CounterVec
	batches     *prometheus.CounterVec
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	perCall     prometheus.Histogram
	bytes       prometheus.Histogram
	retries     *prometheus.CounterVec
	throttled   *prometheus.CounterVec
	gateWait    *prometheus.HistogramVec
	jobDuration *prometheus.HistogramVec
	intake      *prometheus.CounterVec
	tokens      *prometheus.CounterVec
	quotaLimit  *prometheus.GaugeVec
	quotaUsed   *prometheus.GaugeVec
	blocked     *prometheus.GaugeVec
	breaker     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "crier_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: "crier_" + name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "crier_" + name, Help: help}, labels)
	}
	m := &metrics{
		quotaLimit: gauge("quota_limit", "What the fleet may send in a second, as configured or learned; 0 = no limit is known.", "target_type", "unit"),
		quotaUsed:  gauge("quota_used_ratio", "Part of the quota that the fleet was granted in the last half minute or so.", "target_type"),
		blocked:    gauge("jobs_blocked", "Running jobs of the fleet that stand still, by the reason.", "reason"),
		breaker:    f.NewGauge(prometheus.GaugeOpts{Name: "crier_breaker_open", Help: "1 while the API is taken to be away."}),
		targets:    counter("targets_total", "Targets that got a final outcome.", "target_type", "outcome"),
		resent:     counter("resent_targets_total", "Targets sent again after the answer to a call was lost.", "target_type"),
		batches:    counter("batches_total", "Calls with messages by what came of them.", "target_type", "result"),
		requests:   counter("chat_requests_total", "Requests to the Chat API; code 0 = no answer.", "endpoint", "code"),
		duration: histogram("chat_request_duration_seconds", "Time of a request to the Chat API.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}, "endpoint"),
		retries:   counter("retries_total", "Calls made again in place.", "reason"),
		throttled: counter("throttled_total", "Calls refused for a quota.", "target_type", "kind"),
		tokens:    counter("token_refreshes_total", "Requests for a token by what came of them.", "result"),
		intake:    counter("intake_total", "Tasks of the raw queue by what became of them.", "result"),
		gateWait: histogram("gate_wait_seconds", "Time a batch waited for its grant.",
			[]float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300}, "priority"),
		jobDuration: histogram("job_duration_seconds", "Time from a job's acceptance to its end.",
			[]float64{.1, .3, 1, 5, 30, 60, 300, 1800, 3600, 4 * 3600, 24 * 3600}, "priority"),
		perCall: f.NewHistogram(prometheus.HistogramOpts{
			Name: "crier_batch_targets", Help: "Targets of a call.", Buckets: []float64{1, 3, 10, 50, 100, 200, 300, 400, 500, 600},
		}),
		bytes: f.NewHistogram(prometheus.HistogramOpts{
			Name: "crier_batch_bytes", Help: "Bytes of a call's body.", Buckets: []float64{256, 512, 1024, 2048, 3072, 4096, 5120, 10240},
		}),
	}
	m.start()
	return m
}

// start makes the series of all outcomes exist, so that rates are right from
// the first event on.
func (m *metrics) start() {
	for _, t := range apiclient.TargetTypes() {
		for _, o := range ledger.Outcomes()[1:] {
			m.targets.WithLabelValues(string(t), string(o))
		}
		m.resent.WithLabelValues(string(t))
		m.batches.WithLabelValues(string(t), resultSent)
		m.throttled.WithLabelValues(string(t), string(apiclient.ScopeCalls))
		m.throttled.WithLabelValues(string(t), string(apiclient.ScopeTargets))
	}
	for _, reason := range gate.Reasons() {
		m.blocked.WithLabelValues(string(reason))
	}
	for _, result := range []string{intakeAccepted, intakeRepeated, intakeRejected} {
		m.intake.WithLabelValues(result)
	}
	for _, result := range []string{tokenOK, tokenFailed} {
		m.tokens.WithLabelValues(result)
	}
	for _, p := range []string{bulkName, urgentName} {
		m.gateWait.WithLabelValues(p)
		m.jobDuration.WithLabelValues(p)
	}
}

// Observe counts one request to the Chat API; status 0 = no answer.
func (m *metrics) observe(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
	if endpoint == apiclient.TokenEndpoint {
		result := tokenFailed
		if status/100 == 2 {
			result = tokenOK
		}
		m.tokens.WithLabelValues(result).Inc()
	}
}

// What came of a request for a token.
const (
	tokenOK     = "ok"
	tokenFailed = "failed"
)

// call counts one call with messages.
func (m *metrics) call(job ledger.Job, b batch, d decision) {
	m.batches.WithLabelValues(job.TargetType, d.result).Inc()
	if b.bytes > 0 { // it was made
		m.perCall.Observe(float64(len(b.index)))
		m.bytes.Observe(float64(b.bytes))
	}
	if b.code == ledger.Lost {
		m.resent.WithLabelValues(job.TargetType).Add(float64(len(b.index)))
	}
	if d.scope != "" {
		m.throttled.WithLabelValues(job.TargetType, string(d.scope)).Inc()
	}
}

// outcome counts targets that got a final outcome.
func (m *metrics) outcome(job ledger.Job, u ledger.Update) {
	if o := u.Code.Outcome(); o != ledger.OutcomePending {
		m.targets.WithLabelValues(job.TargetType, string(o)).Add(float64(len(u.Index)))
	}
}

// BuildInfo tells the version of a program as a metric.
func BuildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "crier_build_info", Help: "Always 1; the label tells the version."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	return info
}
