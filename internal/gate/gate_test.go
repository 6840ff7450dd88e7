package gate

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "30") // each asks Redis some hundred times; the command line wins
	goleak.VerifyTestMain(m)
}

// onEach runs a test on a real Redis and on the embedded one, each its own.
func onEach(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t).Client())
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embedded(t))
	})
}

func embedded(t testing.TB) redis.UniversalClient {
	t.Helper()
	conn, err := redisconn.Open("embedded:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.Client
}

const (
	users        = "users"
	probeTimeout = time.Hour
)

// clock is virtual time, which passes when a test lets it. Gates may share it;
// but not while it is moved.
type clock struct{ now time.Time }

func newClock() *clock {
	return &clock{now: time.Date(2026, time.March, 1, 12, 0, 0, 371_000_000, time.UTC)}
}

func (c *clock) time() time.Time { return c.now }

// pass lets time pass, without waiting. A negative time is a clock that was set back.
func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// gate is one for users with these quotas and no margin, by this clock. Without
// quotas and until the API throttles, it grants whatever is asked for.
func (c *clock) gate(client redis.UniversalClient, rates ...Rate) *Gate {
	return New(client, Config{
		Namespace: "test", Quotas: Quotas{users: rates}, ProbeTimeout: probeTimeout,
		Patience: time.Minute, // a machine that is slow is no Redis that is away
		Clock:    c.time,
	})
}

// newGate is a gate with a clock of its own.
func newGate(client redis.UniversalClient, rates ...Rate) (*clock, *Gate) {
	c := newClock()
	return c, c.gate(client, rates...)
}

// tb is what tests, benchmarks and rapid checks have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

func ask(t tb, g *Gate, targets ...int) Grant {
	t.Helper()
	return askAs(t, g, false, targets...)
}

func askUrgent(t tb, g *Gate, targets ...int) Grant {
	t.Helper()
	return askAs(t, g, true, targets...)
}

// askAs asks as one that is near to Redis: how long the way there takes on this
// machine is no part of a test.
func askAs(t tb, g *Gate, urgent bool, targets ...int) Grant {
	t.Helper()
	n := g.newsOf(users)
	n.mu.Lock()
	n.trip = 0
	n.mu.Unlock()
	grant, err := g.Ask(t.Context(), users, urgent, targets...)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// expect compares a grant, and the wait with the longest that is right. What is
// expected says nothing of the ticket, and nothing of the last call if that is whole.
func expect(t testing.TB, what string, got, want Grant, upto time.Duration) {
	t.Helper()
	if got.Wait < 0 || got.Wait > upto || (got.Wait == 0) != (got.Calls > 0) {
		t.Errorf("%s: wait %v, want at most %v", what, got.Wait, upto)
	}
	if want.Last == 0 {
		want.Last = got.Last
	}
	got.Wait, got.Ticket = 0, Ticket{}
	if got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func TestDefaultConfig(t *testing.T) {
	got := DefaultConfig()
	if got.Namespace != "crier" || len(got.Quotas) != 0 || got.Margin <= 0 || got.Margin > 100*time.Millisecond ||
		got.Beginning < 1 || got.Patience <= 0 || got.ProbeTimeout <= 0 || got.Clock != nil {
		t.Errorf("%+v", got)
	}
}

func TestErrors(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client)
		g.cfg.Clock = nil
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func() error{
			"Ask":       func() error { _, err := g.Ask(ctx, users, false, 1); return err },
			"AskRate":   func() error { _, err := g.AskRate(ctx, "j", 1, 1); return err },
			"Report":    func() error { _, err := g.Report(ctx, users, true, Hold{}); return err },
			"Throttled": func() error { _, err := g.Throttled(ctx, users, Throttle{Scope: ScopeCalls}); return err },
			"Passed":    func() error { return g.Passed(ctx, users, true) },
			"Over":      func() error { return g.Over(ctx, users, ReasonPlan) },
			"Unused":    func() error { return g.Unused(ctx, users) },
			"Retry":     func() error { _, err := g.Retry(ctx, users, ReasonPlan); return err },
			"Blocked":   func() error { _, err := g.Blocked(ctx, users); return err },
		} {
			if err := call(); err == nil || !strings.HasPrefix(err.Error(), "gate: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Without a clock of a simulation, Redis's own counts.
func TestTimeOfRedis(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client, Rate{N: 1, Window: time.Hour})
		g.cfg.Clock = nil
		before, err := g.time(t.Context())
		if err != nil || time.Since(before).Abs() > time.Hour {
			t.Fatal(before, err)
		}
		expect(t, "the first", ask(t, g, 1), Grant{Calls: 1}, 0)
		expect(t, "the second", ask(t, g, 1), Grant{Held: ReasonQuota}, time.Hour)
		block, err := g.Blocked(t.Context(), users)
		if err != nil || block.Reason != ReasonQuota || block.Since.Before(before.Truncate(time.Microsecond)) {
			t.Errorf("%+v, %v; began at %v", block, err, before)
		}
	})
}
