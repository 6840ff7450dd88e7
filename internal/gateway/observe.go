package gateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/tasks"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crier_http_requests_total", Help: "Requests to the gateway by route and status.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "crier_http_request_duration_seconds", Help: "Time from a request's head to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_http_requests_in_flight", Help: "Requests under way, without health checks and scrapes."}),
	}
	registry.MustRegister(m.requests, m.seconds, m.inFlight)
	return m
}

// start makes the series of all documented answers exist.
func (m *metrics) start(paths map[string]*huma.PathItem) {
	for path, item := range paths {
		m.seconds.WithLabelValues(path)
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			for code := range op.Responses {
				m.requests.WithLabelValues(path, code)
			}
		}
	}
}

// ServeHTTP serves one request: counted, within bounds, and never without an answer.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	answer := &answer{ResponseWriter: w, control: http.NewResponseController(w), idle: g.cfg.IdleTimeout}
	if r.Body != http.NoBody {
		// For a body that no handler reads: net/http waits for it before it answers, and
		// the answer's own time begins when it is written.
		_ = answer.control.SetReadDeadline(began.Add(g.cfg.IdleTimeout / 2)) // not every connection has one
	}
	r = withExchange(answer, r)
	counted := !isHealth(r.URL.Path) // who looks would see himself
	if counted {
		g.metrics.inFlight.Inc()
	}
	defer func() {
		if counted {
			g.metrics.inFlight.Dec()
		}
		fault := recover()
		if fault != nil && fault != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			g.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			if answer.status == 0 {
				g.write(answer, problem(http.StatusInternalServerError, "an error that should not happen, see the log"))
				fault = nil
			}
		}
		took := time.Since(began)
		route := g.route(r)
		g.metrics.requests.WithLabelValues(route, strconv.Itoa(answer.status)).Inc()
		g.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
		g.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "route", route, "job", jobOf(r, answer.Header()),
			"status", answer.status, "ms", took.Milliseconds(), "client", r.RemoteAddr)
		if fault != nil {
			panic(fault) // the client must see that the answer is not whole
		}
	}()
	g.handler.ServeHTTP(answer, r)
}

// jobOf is the job that a request was about, or has made: "" = none.
func jobOf(r *http.Request, header http.Header) string {
	if made, found := strings.CutPrefix(header.Get("Location"), jobsPath+"/"); found {
		if id, err := url.PathUnescape(made); err == nil {
			return id
		}
	}
	if id := r.PathValue("id"); tasks.ValidID(id) {
		return id
	}
	return ""
}

// bounded serves so many requests at a time.
func (g *Gateway) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isHealth(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case g.clients <- struct{}{}:
			defer func() { <-g.clients }()
			next.ServeHTTP(w, r)
		default:
			g.write(w, problem(http.StatusServiceUnavailable, "%d requests are under way already", g.cfg.MaxClients).again(soon))
		}
	})
}

// isHealth is for what is answered however much there is to do: a busy gateway must
// not be taken for a dead one.
func isHealth(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// route is the pattern that a request has met: a label of few values.
func (g *Gateway) route(r *http.Request) string {
	_, pattern := g.mux.Handler(r)
	if pattern == "" {
		return "none"
	}
	_, path, found := strings.Cut(pattern, " ")
	if !found {
		path = pattern
	}
	return path
}

// found answers what meets no route with a problem, too.
func (g *Gateway) found(w http.ResponseWriter, r *http.Request) {
	handler, pattern := g.mux.Handler(r)
	if pattern != "" {
		g.mux.ServeHTTP(w, r)
		return
	}
	refusal := &refusal{header: w.Header()}
	handler.ServeHTTP(refusal, r)
	p := problem(http.StatusNotFound, "there is nothing under %.200q", r.URL.Path)
	if refusal.status == http.StatusMethodNotAllowed {
		p = problem(http.StatusMethodNotAllowed, "%s is not for %.200q, but %s", r.Method, r.URL.Path, w.Header().Get("Allow"))
	}
	g.write(w, p)
}

// refusal is what net/http would have answered.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }

// write answers with a problem where package huma is not asked.
func (g *Gateway) write(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Connection", "close") // what is left of the request is not waited for
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone, nobody to tell
}

// answer is a ResponseWriter that knows its status, and gives up a client that
// does not take what it is sent.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	status  int
	set     time.Time // when the deadline was last moved
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.moveDeadline()
	a.ResponseWriter.WriteHeader(status)
}

// Write notes that the status is 200, if none was given.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.moveDeadline()
	return a.ResponseWriter.Write(b)
}

func (a *answer) moveDeadline() {
	if now := time.Now(); now.Sub(a.set) >= a.idle/deadlines {
		a.set = now
		_ = a.control.SetWriteDeadline(now.Add(a.idle)) // not every writer has one
	}
}
