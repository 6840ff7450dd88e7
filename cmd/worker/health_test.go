package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"crier/internal/gate"
	"crier/internal/redistest"
)

// Each state of a worker has its reason.
func TestReadiness(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := newSite(t, redis.URL, nil)
	draining, drain := context.WithCancel(t.Context())
	s.health.draining = draining
	says := func(status int, parts ...string) {
		t.Helper()
		body := s.get("/readyz", status)
		for _, part := range parts {
			if !strings.Contains(body, part) {
				t.Errorf("it says %q, and not %q", body, part)
			}
		}
	}
	says(503, "starting")
	refused := errors.New("ledger: bind: READONLY You can't write against a read only replica.")
	s.health.stuck.Store(&refused)
	says(503, "READONLY", redis.Addr)
	var fault error
	s.health.startedWith(func() error { return fault })
	if body := s.get("/readyz", 200); body != "ready\n" {
		t.Errorf("ready: %q", body)
	}
	fault = errors.New("READONLY of a replica")
	says(503, "READONLY of a replica")
	fault = nil

	g := gate.New(s.redis, gate.DefaultConfig())
	if _, err := g.Report(t.Context(), "users", false, gate.Hold{Reason: gate.ReasonUnauthorized, Base: time.Minute, Max: time.Minute}); err != nil {
		t.Fatal(err)
	}
	says(200, "ready; calls for users are held: unauthorized since 20")
	if body := s.get("/readyz", 200); strings.Contains(body, "chatgroups") {
		t.Errorf("held: %q", body)
	}
	drain()
	says(503, "draining")
	s.get("/healthz", 200)
}

// No reason shows a password.
func TestReadinessWithoutRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, "redis://someone:s3cret-word@127.0.0.1:1/0", nil)
	body := s.get("/readyz", 503)
	if !strings.Contains(body, "127.0.0.1:1") || !strings.Contains(body, "cannot be reached") || strings.Contains(body, "s3cret") {
		t.Errorf("it says %q", body)
	}
	locked := redistest.StartReal(t)
	if err := locked.Client().ConfigSet(t.Context(), "requirepass", "s3cret-word").Err(); err != nil {
		t.Fatal(err)
	}
	s = newSite(t, strings.Replace(locked.URL, "redis://", "redis://:wr0ng-word@", 1), nil)
	body = s.get("/readyz", 503)
	if !strings.Contains(body, "refuses") || !strings.Contains(body, "WRONGPASS") || strings.Contains(body, "-word") {
		t.Errorf("it says %q", body)
	}
}

func TestExposed(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:9464": false, "[::1]:9464": false, "[::ffff:127.0.0.1]:1": false,
		"[::]:9464": true, "0.0.0.0:9464": true, "192.0.2.1:9464": true, "[2001:db8::1]:1": true,
	} {
		if got := exposed(addr); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}
