// Package gateway is the door for backends that are not written in Go: the send
// jobs of this system over HTTP, and the Chat API's own call in front of it.
//
// Invariant: what it answers with 2xx is stored, and of what it refuses nothing
// is. A request that breaks off, or meets a Redis that cannot take it, leaves
// nothing that anybody would see.
//
// It decides nothing about jobs: it reads requests, keeps off whom it does not
// know and what is too much, and puts package tasks' answers into HTTP.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/tasks"
)

// Config bounds what clients may ask for.
type Config struct {
	Version string // shown in the API's description

	MaxBody    int64 // bytes of a request as they come, packed or not
	MaxTargets int   // distinct ones of a job
	MaxClients int   // requests under way; more are told to come again
	// Middling is how many submissions of more than some 64 KiB are taken in at a time,
	// each of 10 MB of memory at most, and Large how many of these that go on to have
	// more than 4 MiB or LargeList targets: ten million names take about 200 MB. The
	// others wait.
	Middling, Large, LargeList int

	// IdleTimeout is within which a client must send enough of a request, or take
	// something of an answer.
	IdleTimeout time.Duration

	Pressure PressureConfig
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxBody: 4 << 30, MaxTargets: 20_000_000, MaxClients: 1000, Middling: 32, Large: 2, LargeList: 100_000,
		IdleTimeout: 30 * time.Second, Pressure: DefaultPressureConfig(),
	}
}

// Parts are what a gateway works with.
type Parts struct {
	Ledger   *ledger.Ledger
	Queue    *tasks.Queue
	Gate     *gate.Gate
	Keys     *Keys              // nil = nobody is asked for one
	Files    *tasks.Attachments // nil = files are not taken
	Probe    Probe              // of Redis
	Trouble  func(error) string // what an error says of Redis, without a secret: /readyz tells it
	Registry *prometheus.Registry
	Log      *slog.Logger
}

// Gateway serves the API. Run what watches Redis beside it: see Watch.
type Gateway struct {
	cfg Config
	Parts
	submit   *tasks.Submitter
	drafts   *tasks.Drafts
	control  *tasks.Control
	api      huma.API
	mux      *http.ServeMux
	handler  http.Handler // guard, then mux
	metrics  *metrics
	pressure *pressure
	middling *places
	large    *places
	freeing  rate.Sometimes // of memory
	clients  chan struct{}  // one for each request under way
	draining context.Context
	warning  rate.Sometimes // what many requests may meet at a time
	lonely   rate.Sometimes // of jobs that no replica is known to have
	apps     appCache
}

// New returns a gateway that gets ready to end with draining.
func New(draining context.Context, cfg Config, parts Parts) *Gateway {
	g := &Gateway{
		cfg: cfg, Parts: parts, mux: http.NewServeMux(), draining: draining,
		submit:   &tasks.Submitter{Ledger: parts.Ledger, Queue: parts.Queue, Gate: parts.Gate, LimitsFor: time.Second},
		control:  &tasks.Control{Ledger: parts.Ledger, Queue: parts.Queue},
		middling: newPlaces(cfg.Middling), large: newPlaces(cfg.Large), clients: make(chan struct{}, cfg.MaxClients),
	}
	g.warning.Interval, g.lonely.Interval, g.freeing.Interval = 10*time.Second, 10*time.Second, 10*time.Second
	g.submit.Alone = func(job string, err error) {
		g.lonely.Do(func() { g.Log.Warn(tasks.AloneText, "job", job, "error", err) })
	}
	g.drafts = tasks.NewDrafts(g.submit)
	g.metrics = newMetrics(parts.Registry)
	g.pressure = newPressure(cfg.Pressure, parts.Probe, parts.Log)
	g.api = humago.New(g.mux, apiConfig(cfg.Version))
	g.registerJobs()
	g.registerTargets()
	g.registerControl()
	g.registerDropIn()
	g.registerFiles()
	g.registerDocs()
	g.registerHealth()
	delete(g.api.OpenAPI().Components.Schemas.Map(), "ErrorModel") // of package huma; all problems are a Problem
	g.metrics.start(g.api.OpenAPI().Paths)
	g.handler = g.guard(g.bounded(http.HandlerFunc(g.found)))
	return g
}

// Watch looks after Redis until ctx ends.
func (g *Gateway) Watch(ctx context.Context) { g.pressure.watch(ctx) }

// registerHealth serves what is for machines that look after this one.
func (g *Gateway) registerHealth() {
	metrics := promhttp.HandlerFor(g.Registry, promhttp.HandlerOpts{Registry: g.Registry})
	for path, page := range map[string]struct {
		summary string
		handler http.Handler
		open    bool
	}{
		"/healthz": {"Whether the process lives", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, "ok") }), true},
		"/readyz":  {"Whether jobs can be taken; 503 with the reason if not", http.HandlerFunc(g.readyz), true},
		"/metrics": {"Metrics for Prometheus", metrics, false},
	} {
		g.mux.Handle("GET "+path, page.handler)
		text := map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}
		op := &huma.Operation{
			Method: http.MethodGet, Path: path, OperationID: path[1:], Summary: page.summary, Tags: []string{tagHealth},
			Responses: map[string]*huma.Response{"200": {Description: "OK", Content: text}},
		}
		if page.open {
			op.Security = []map[string][]string{{}}
		} else {
			op.Responses["401"] = &huma.Response{Description: http.StatusText(http.StatusUnauthorized)}
		}
		if path == "/readyz" {
			op.Responses["503"] = &huma.Response{Description: "The reason", Content: text}
		}
		g.api.OpenAPI().AddOperation(op)
	}
}

// readyz tells whether jobs can be taken.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	if g.draining.Err() != nil {
		http.Error(w, "draining: no new requests are taken", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	err := g.Ledger.Ping(ctx)
	if err == nil {
		err = g.pressure.lost() // else the next job could be refused still
	}
	if err != nil {
		g.Log.Debug("not ready", "error", err)
		http.Error(w, g.Trouble(err), http.StatusServiceUnavailable)
		return
	}
	plain(w, "ready")
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text + "\n")) // the client is gone, nobody to tell
}
