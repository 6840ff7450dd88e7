package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// redisState is what a Redis of these tests is like.
type redisState struct {
	share float64
	takes time.Duration // for an answer
	err   error
}

func (s *redisState) probe(ctx context.Context) (float64, error) {
	select {
	case <-time.After(s.takes):
		return s.share, s.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// admitted is how long a submission is held up, or the problem it meets.
func admitted(t *testing.T, p *pressure) (time.Duration, *Problem) {
	t.Helper()
	began := time.Now()
	err := p.admit(t.Context())
	var refusal *Problem
	if err != nil && !errors.As(err, &refusal) {
		t.Error(err)
	}
	return time.Since(began), refusal
}

func TestPressure(t *testing.T) {
	bound := DefaultPressureConfig()
	for name, tt := range map[string]struct {
		redis    redisState
		from, to time.Duration // that a submission is held up
		refused  string        // why, "" = it is taken
	}{
		"at ease":           {redis: redisState{}},
		"without a limit":   {redis: redisState{share: 0}},
		"half full":         {redis: redisState{share: 0.5}},
		"just not slowed":   {redis: redisState{share: 0.71}},
		"slowed a little":   {redis: redisState{share: 0.75}, from: time.Millisecond, to: slowest / 2},
		"slowed much":       {redis: redisState{share: 0.89}, from: slowest / 2, to: slowest},
		"full enough":       {redis: redisState{share: 0.9}, refused: "nearly full"},
		"full":              {redis: redisState{share: 1.02}, refused: "nearly full"},
		"quick enough":      {redis: redisState{takes: 300 * time.Millisecond}},
		"slow":              {redis: redisState{takes: 450 * time.Millisecond}, from: time.Millisecond, to: slowest},
		"too slow":          {redis: redisState{takes: 500 * time.Millisecond}, refused: "slow"},
		"slow, rather full": {redis: redisState{share: 0.8, takes: 600 * time.Millisecond}, refused: "slow"},
		"full, rather slow": {redis: redisState{share: 0.95, takes: 450 * time.Millisecond}, refused: "nearly full"},
		"away":              {redis: redisState{err: errors.New("connection refused")}, refused: "does not answer"},
		"hangs":             {redis: redisState{takes: time.Hour}, refused: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPressure(bound, tt.redis.probe, slog.New(slog.DiscardHandler))
				for range 3 {
					p.look(t.Context())
				}
				waited, refusal := admitted(t, p)
				switch {
				case tt.refused == "" && (refusal != nil || waited < tt.from || waited > tt.to):
					t.Errorf("held up for %v, %v", waited, refusal)
				case tt.refused != "" && (refusal == nil || waited != 0):
					t.Fatalf("taken after %v", waited)
				case tt.refused != "" && (refusal.Status != 503 || refusal.GetHeaders().Get("Retry-After") != "10" || !strings.Contains(refusal.Detail, tt.refused)):
					t.Errorf("%+v", refusal)
				}
			})
		})
	}
}

// Before Redis was asked once, nobody is kept waiting for that.
func TestNoPressureAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPressure(DefaultPressureConfig(), nil, nil)
		if waited, refusal := admitted(t, p); waited != 0 || refusal != nil {
			t.Errorf("%v, %v", waited, refusal)
		}
	})
}

// A single slow answer is nothing, three in a row are; the way back is taken at
// the first quick one.
func TestASlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := redisState{}
		p := newPressure(DefaultPressureConfig(), state.probe, slog.New(slog.DiscardHandler))
		for i, step := range []struct {
			takes   time.Duration
			refused bool
		}{
			{0, false}, {time.Second, false}, {time.Second, false}, {time.Second, true}, {0, false}, {time.Second, false}, {0, false},
		} {
			state.takes = step.takes
			p.look(t.Context())
			if _, refusal := admitted(t, p); (refusal != nil) != step.refused {
				t.Errorf("look %d: %v", i, refusal)
			}
		}
	})
}

// The log tells of each change once, however long it lasts.
func TestPressureIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var state atomic.Pointer[redisState]
		state.Store(&redisState{})
		probe := func(ctx context.Context) (float64, error) { return state.Load().probe(ctx) }
		p := newPressure(DefaultPressureConfig(), probe, log.logger())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.watch(ctx) }()
		for _, now := range []redisState{
			{}, {share: 0.95}, {share: 0.99}, {err: errors.New("gone")}, {share: 0.95}, {share: 0.5}, {}, {err: errors.New("gone")}, {},
		} {
			state.Store(&now)
			<-time.After(5 * time.Second)
		}
		synctest.Wait()
		stop()
		<-ended
		if refused, taken := log.count(slog.LevelWarn, "new jobs are refused"), log.count(slog.LevelInfo, "new jobs are taken again"); refused != 2 || taken != 2 {
			t.Errorf("told %d times of the one, %d times of the other:\n%s", refused, taken, log.String())
		}
		if _, refusal := admitted(t, p); refusal != nil {
			t.Error(refusal)
		}
	})
}

// A gateway that ends says nothing of the probe that it broke off.
func TestEndOfWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		state := redisState{takes: time.Hour}
		p := newPressure(DefaultPressureConfig(), state.probe, log.logger())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.watch(ctx) }()
		synctest.Wait()
		stop()
		<-ended
		if log.String() != "" {
			t.Error(log.String())
		}
	})
}

// Who is slowed down and goes is not waited for.
func TestAdmitEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := redisState{share: 0.89}
		p := newPressure(DefaultPressureConfig(), state.probe, slog.New(slog.DiscardHandler))
		p.look(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := p.admit(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What is refused for pressure leaves nothing; what takes no room goes on, and so do
// urgent codes, as long as Redis itself takes them.
func TestSubmissionsUnderPressure(t *testing.T) {
	state := redisState{}
	r := newRig(t, func(_ *Config, p *Parts) { p.Probe = state.probe })
	r.begin("draft")
	r.wants(r.post("/v1/jobs/draft/targets", "u1\n", "Content-Type", "text/plain"), 200)
	r.wants(r.post("/v1/jobs", document("u1"), "Idempotency-Key", "there"), 202)
	before := r.stored()
	state = redisState{share: 0.95}
	r.gateway.pressure.look(t.Context())
	for path, body := range map[string]string{
		"/v1/jobs":                document("u1"),
		"/org/app/messages":       document("u1"),
		"/v1/jobs/there/resend":   "",
		"/v1/jobs/draft/targets":  strings.Repeat("u2\n", 2*loadCheck),
		"/org/app/messages/users": `{"to":["u1"],"type":"txt","body":{"msg":"x"}}`,
	} {
		got := r.post(path, body, "Content-Type", "text/plain")
		if p := refused(t, got, 503); got.header.Get("Retry-After") != "10" || !strings.Contains(p.Detail, "nearly full") {
			t.Errorf("%s: %v %+v", path, got.header, p)
		}
	}
	if now := r.stored(); now != before {
		t.Errorf("%d keys in Redis, there were %d", now, before)
	}
	for _, path := range []string{"/v1/jobs/there/pause", "/v1/jobs/there/resume", "/v1/jobs/there/cancel"} {
		r.wants(r.post(path, ""), 200)
	}
	r.wants(r.get("/v1/jobs/there/results"), 200)
	r.wants(r.post("/v1/plan", document("u1")), 200)
	r.wants(r.post("/org/app/messages?priority=urgent", document("u1")), 202)
	r.wants(r.call("DELETE", "/v1/jobs/there", nil), 204)

	state = redisState{}
	r.gateway.pressure.look(t.Context())
	r.wants(r.post("/v1/jobs", document("u1")), 202)
}
