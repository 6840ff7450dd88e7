package tasks

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// Metrics are what a process tells Prometheus of its own deliveries and of its
// requests to the Chat API. No label depends on what users send, and all series
// are there from the start, so that rates are right from the first event on.
type Metrics struct {
	targets       *prometheus.CounterVec
	resent        *prometheus.CounterVec
	batches       *prometheus.CounterVec
	requests      *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	perCall       prometheus.Histogram
	bytes         prometheus.Histogram
	retries       *prometheus.CounterVec
	throttled     *prometheus.CounterVec
	gateWait      *prometheus.HistogramVec
	jobDuration   *prometheus.HistogramVec
	urgentLatency prometheus.Histogram
	intake        *prometheus.CounterVec
	tokens        *prometheus.CounterVec
}

// NewMetrics registers the metrics of a process that calls the API in the given form.
func NewMetrics(r prometheus.Registerer, form apiclient.Form) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "crier_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "crier_" + name, Help: help, Buckets: buckets}
	}
	m := &Metrics{
		targets:   counter("targets_total", "Targets that got a final outcome.", "target_type", "outcome"),
		resent:    counter("resent_targets_total", "Targets sent again after the answer to a call was lost.", "target_type"),
		batches:   counter("batches_total", "Calls with messages by what came of them.", "target_type", "result"),
		requests:  counter("chat_requests_total", "Requests to the Chat API by the status of the answer; 0 = there was none.", "endpoint", "code"),
		retries:   counter("retries_total", "Batches to be sent again, whole or in part, by what came of their call.", "reason"),
		throttled: counter("throttled_total", "Calls refused for a quota, by what that counts.", "target_type", "kind"),
		tokens:    counter("token_refreshes_total", "Requests for a token by what came of them.", "result"),
		intake:    counter("intake_total", "Tasks of the raw queue by what became of them.", "result"),
		duration: f.NewHistogramVec(histogram("chat_request_duration_seconds", "Time of a request to the Chat API.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}), []string{"endpoint"}),
		gateWait: f.NewHistogramVec(histogram("gate_wait_seconds", "Time that a batch waited for its grant.",
			[]float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300}), []string{"priority"}),
		jobDuration: f.NewHistogramVec(histogram("job_duration_seconds", "Time from a job's acceptance to its end.",
			[]float64{.1, .3, 1, 5, 30, 60, 300, 1800, 3600, 4 * 3600, 24 * 3600}), []string{"priority"}),
		urgentLatency: f.NewHistogram(histogram("urgent_latency_seconds", "Time from an urgent job's acceptance, or its send_at, to the 200 of each of its calls.",
			[]float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300})),
		perCall: f.NewHistogram(histogram("batch_targets", "Targets of a call.", []float64{1, 3, 10, 50, 100, 200, 300, 400, 500, 600})),
		bytes:   f.NewHistogram(histogram("batch_bytes", "Bytes of a call's body.", []float64{256, 512, 1024, 2048, 3072, 4096, 5120, 10240})),
	}
	m.start(form)
	return m
}

// documented are the statuses that the Chat API is known to answer with
// (CHAT-API: "Errors"); 0 = no answer.
var documented = []int{0, 200, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504}

// start makes the series exist.
func (m *Metrics) start(form apiclient.Form) {
	for _, endpoint := range apiclient.Endpoints(form) {
		m.duration.WithLabelValues(endpoint)
		for _, status := range documented {
			m.requests.WithLabelValues(endpoint, strconv.Itoa(status))
		}
	}
	for _, t := range apiclient.TargetTypes() {
		for _, o := range ledger.Outcomes()[1:] {
			m.targets.WithLabelValues(string(t), string(o))
		}
		for _, result := range results() {
			m.batches.WithLabelValues(string(t), result)
		}
		m.resent.WithLabelValues(string(t))
		m.throttled.WithLabelValues(string(t), string(apiclient.ScopeCalls))
		m.throttled.WithLabelValues(string(t), string(apiclient.ScopeTargets))
	}
	for _, result := range results()[1:] {
		m.retries.WithLabelValues(result)
	}
	for _, result := range []string{intakeAccepted, intakeRepeated, intakeRejected} {
		m.intake.WithLabelValues(result)
	}
	for _, result := range []string{tokenOK, tokenFailed} {
		m.tokens.WithLabelValues(result)
	}
	for _, p := range priorities() {
		m.gateWait.WithLabelValues(p)
		m.jobDuration.WithLabelValues(p)
	}
}

func priorities() []string { return []string{bulkName, urgentName} }

// results are what can come of a call, the best first.
func results() []string {
	all := []string{resultSent, resultPartly}
	for _, kind := range apiclient.Kinds() {
		all = append(all, string(kind))
	}
	for _, code := range []ledger.Code{ledger.AnswerLost, ledger.GaveUp} {
		all = append(all, code.Reason())
	}
	return slices.Compact(append(all, resultNotMentioned, resultNotMade))
}

// Observe counts one request to the Chat API; status 0 = no answer.
func (m *Metrics) Observe(endpoint string, status int, took time.Duration) {
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

// call counts one call with messages, which was over at the given time.
func (m *Metrics) call(job ledger.Job, b batch, d decision, over time.Time) {
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
	if job.Urgent && d.success() {
		m.urgentLatency.Observe(max(over.Sub(job.Accepted()), 0).Seconds())
	}
}

// outcome counts targets that got a final outcome.
func (m *Metrics) outcome(job ledger.Job, u ledger.Update) {
	if o := u.Code.Outcome(); o != ledger.OutcomePending {
		m.targets.WithLabelValues(job.TargetType, string(o)).Add(float64(len(u.Index)))
	}
}

// NewRegistry returns a registry that tells of the process and its version.
func NewRegistry(version string) *prometheus.Registry {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "crier_build_info", Help: "Always 1; the label tells the version."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return r
}
