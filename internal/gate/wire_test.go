package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

// wire sees what goes to Redis, and fails if a test wants it to.
type wire struct {
	broken atomic.Bool
	silent bool // no command is ever answered

	mu   sync.Mutex
	sent []string // names of commands
}

var errBroken = errors.New("the wire is broken")

func (w *wire) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (w *wire) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		w.mu.Lock()
		w.sent = append(w.sent, cmd.Name())
		w.mu.Unlock()
		if w.silent {
			<-ctx.Done()
		}
		if err := ctx.Err(); w.silent || w.broken.Load() {
			err = errors.Join(errBroken, err)
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (w *wire) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, cmd := range cmds {
			w.sent = append(w.sent, cmd.Name())
		}
		return next(ctx, cmds)
	}
}

// take returns what was sent since the last time.
func (w *wire) take() (sent []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent, w.sent = w.sent, nil
	return sent
}

// severalRates are all kinds of quotas.
var severalRates = []Rate{
	{N: 100, Window: time.Second},
	{N: 3000, Window: time.Minute},
	{N: 6000, Targets: true, Window: time.Minute},
	{N: 60_000, Targets: true, Window: time.Hour},
}

// A question is one round trip, and a success none.
func TestRoundTrips(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock := newClock()
		gates := map[string]*Gate{"auto": clock.auto(client), "known": clock.gate(client, severalRates...)}
		for name, g := range gates {
			w := &wire{}
			grant := ask(t, g, 1) // Redis learns the script
			throttled(t, g, Throttle{Scope: ScopeCalls}, 0)
			throttled(t, g, Throttle{Scope: ScopeTargets}, 0) // and that there are limits
			client.AddHook(w)
			for what, call := range map[string]func(){
				"a question":        func() { clock.pass(time.Minute); ask(t, g, 1, 2, 3) },
				"an urgent one":     func() { askUrgent(t, g, 1) },
				"that is refused":   func() { ask(t, g, equal(200, 600)...) },
				"the cap of a job":  func() { askRate(t, g, "j", 1) },
				"a refused call":    func() { _, _ = g.Throttled(t.Context(), users, Throttle{Scope: ScopeTargets}) },
				"a successful call": func() { g.Accepted(users, grant.Ticket, 1) },
			} {
				w.take()
				call()
				want := []string{"evalsha"}
				if what == "a successful call" {
					want = nil
				}
				if sent := w.take(); !slices.Equal(sent, want) {
					t.Errorf("%s, %s: %v", name, what, sent)
				}
			}
		}
	})
}

// A Redis that is full grants calls, and records what it hears of their answers.
func TestFullRedis(t *testing.T) {
	for name, rates := range map[string][]Rate{"auto": nil, "known": severalRates} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := redistest.StartReal(t, redistest.With("maxmemory", "100kb"), redistest.With("maxmemory-policy", "noeviction")).Client()
			if err := client.Set(t.Context(), "k", "v", 0).Err(); err == nil {
				t.Fatal("Redis is not full")
			}
			clock, g := newGate(client, rates...)
			g.cfg.Beginning = 10
			for range 20 {
				grant := ask(t, g, 1)
				expect(t, "full", grant, Grant{Calls: 1}, 0)
				g.Accepted(users, grant.Ticket, 1)
				clock.pass(time.Second)
			}
			expect(t, "urgent", askUrgent(t, g, 1), Grant{Calls: 1}, 0)
			expect(t, "the cap of a job", askRate(t, g, "j", 60), Grant{Calls: 1}, 0)
			expect(t, "which is kept", askRate(t, g, "j", 60), Grant{Held: ReasonQuota}, time.Second)
			for _, want := range []time.Duration{0, 0, time.Minute} {
				report(t, g, false, row(ReasonRejected, "400 a"), want)
			}
			expect(t, "held", ask(t, g, 1), Grant{Held: ReasonRejected}, time.Minute)
			if held, err := g.Retry(t.Context(), users, ReasonRejected); !held || err != nil {
				t.Error(held, err)
			}
			probe(t, g, ReasonRejected)
			if err := g.Unused(t.Context(), users); err != nil {
				t.Error(err)
			}
			probe(t, g, ReasonRejected)
			passed(t, g)
			useUp(t, clock, g, ScopeTargets)
			blocked(t, g, ReasonQuota)
		})
	}
}

// BenchmarkAsk is a question for one call that is granted.
func BenchmarkAsk(b *testing.B) {
	for _, name := range []string{"auto", "known"} {
		b.Run(name, func(b *testing.B) {
			clock := newClock()
			g := clock.auto(redistest.Start(b).Client())
			if name == "known" {
				g.cfg.Quotas[users] = []Rate{{N: 100, Window: time.Second}, {N: 60_000, Targets: true, Window: time.Minute}}
			}
			var took []time.Duration
			for b.Loop() {
				clock.pass(200 * time.Millisecond)
				began := time.Now()
				grant, err := g.Ask(b.Context(), users, false, 100)
				took = append(took, time.Since(began))
				if err != nil || grant.Calls != 1 {
					b.Fatal(fmt.Sprint(grant, err))
				}
				g.Accepted(users, grant.Ticket, 100)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
