package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"crier/internal/redisconn"
)

// health answers whether this worker can do its work.
type health struct {
	conn     *redisconn.Conn
	draining context.Context // ended: no new work is taken
	ready    atomic.Bool     // all parts have started
}

// problem returns why the worker is not ready, or "".
func (h *health) problem(ctx context.Context) string {
	if h.draining.Err() != nil {
		return "draining: no new work is taken"
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := h.conn.Client.Ping(ctx).Err(); err != nil {
		return fmt.Sprintf("Redis at %s cannot be reached: %v", h.conn.Addr(), err)
	}
	if !h.ready.Load() {
		return "starting"
	}
	return ""
}

// admin is the server of metrics and health.
type admin struct {
	addr   string
	server *http.Server
}

func startAdmin(addr string, registry *prometheus.Registry, h *health) (*admin, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok") // the client is gone, nobody to tell
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if problem := h.problem(r.Context()); problem != "" {
			http.Error(w, problem, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ready")
	})
	a := &admin{addr: listener.Addr().String(), server: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
	}}
	go func() { _ = a.server.Serve(listener) }() // it always ends with an error: that of stop
	return a, nil
}

// stop ends the server after requests under way, within a second.
func (a *admin) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
}
