package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof" //nolint:gosec // G108: it registers with the default mux, which nobody serves
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

// admin is the server of metrics, health and the queue page: of all that is for
// those who run a worker.
type admin struct {
	addr   string
	server *http.Server
}

// adminConfig is what the admin server shows.
type adminConfig struct {
	addr      string // host:port; "" = no server
	namespace string
	profiles  bool // serve those of net/http/pprof
	registry  *prometheus.Registry
	redis     redis.UniversalClient
	health    *health
	log       *slog.Logger
}

// startAdmin serves from now on. Nobody is asked who they are: where others than
// this machine can reach the address, that is said in the log.
func startAdmin(c adminConfig) (*admin, error) {
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	a := &admin{addr: listener.Addr().String(), server: &http.Server{
		Handler: c.pages(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug), // clients that go
	}}
	c.log.Info("admin server listens", "addr", a.addr, "pprof", c.profiles)
	if addr, err := netip.ParseAddrPort(a.addr); err != nil || !addr.Addr().Unmap().IsLoopback() {
		c.log.Warn("the admin pages have no password: see that only those reach them who may", "addr", a.addr)
	}
	go func() { _ = a.server.Serve(listener) }() // it always ends with an error: that of stop
	return a, nil
}

// page is one that the index lists.
type page struct {
	path, about string
	handler     http.Handler
}

func (c adminConfig) pages() http.Handler {
	pages := []page{
		{"/healthz", "200: the process lives", http.HandlerFunc(alive)},
		{"/readyz", "200: it can do its work, and whether calls are held; 503: why it cannot", c.health},
		{"/metrics", "for Prometheus", promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{Registry: c.registry})},
		{queuesPath + "/", "the queues, to look at in a browser", newQueuePage(c.redis, c.namespace, c.log)},
	}
	if c.profiles {
		// Without the command line, in which there may be secrets.
		pages = append(pages, page{"/debug/pprof/", "profiles, for go tool pprof", http.HandlerFunc(pprof.Index)})
	}
	mux := http.NewServeMux()
	var index strings.Builder
	for _, p := range pages {
		fmt.Fprintf(&index, "%-15s %s\n", p.path, p.about)
		if p.path == queuesPath+"/" {
			mux.Handle(p.path, p.handler) // it answers to other methods itself
		} else {
			mux.Handle("GET "+p.path, p.handler)
		}
	}
	if c.profiles {
		mux.Handle("GET /debug/pprof/cmdline", http.NotFoundHandler())
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			mux.HandleFunc(method+" /debug/pprof/symbol", pprof.Symbol)
		}
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, index.String()) })
	return mux
}

func alive(w http.ResponseWriter, _ *http.Request) { answer(w, "ok\n") }

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text)) // the client is gone, nobody to tell
}

// stop ends the server after requests under way, within a second.
func (a *admin) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
}
