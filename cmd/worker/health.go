package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/redisconn"
)

// health answers whether this worker can do its work, and why not. It costs Redis
// a ping and a look at each target type's holds.
type health struct {
	conn     *redisconn.Conn
	gate     *gate.Gate
	draining context.Context              // ended: no new work is taken
	stuck    atomic.Pointer[error]        // why a start was not possible so far
	unheard  atomic.Pointer[func() error] // see tasks.Worker; nil = not all parts have started yet
}

// startedWith notes that all parts have started, and how to ask whether Redis
// takes what the worker writes.
func (h *health) startedWith(unheard func() error) { h.unheard.Store(&unheard) }

// ServeHTTP answers 200 or 503, with the reason.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if problem := h.problem(ctx); problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	answer(w, "ready"+h.holds(ctx)+"\n")
}

// problem returns why the worker is not ready, or "".
func (h *health) problem(ctx context.Context) string {
	if h.draining.Err() != nil {
		return "draining: no new work is taken"
	}
	unheard := h.unheard.Load()
	err := h.conn.Client.Ping(ctx).Err()
	if err == nil { // a replica answers, and takes nothing
		switch stuck := h.stuck.Load(); {
		case unheard != nil:
			err = (*unheard)()
		case stuck != nil:
			err = *stuck
		}
	}
	switch {
	case err != nil:
		return h.conn.Trouble(err)
	case unheard == nil:
		return "starting: Redis answers, the worker gets ready"
	}
	return ""
}

// holds tells which calls stand still, though the worker is ready. Where that
// cannot be read it is not told.
func (h *health) holds(ctx context.Context) string {
	var text strings.Builder
	for _, t := range apiclient.TargetTypes() {
		block, err := h.gate.Blocked(ctx, string(t))
		if err == nil && block.Reason != "" {
			fmt.Fprintf(&text, "; calls for %s are held: %s since %s", t, block.Reason, block.Since.UTC().Format(time.RFC3339))
		}
	}
	return text.String()
}
