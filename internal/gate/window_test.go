package gate

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// granted is a call that was granted between two moments.
type granted struct {
	from, to time.Time
	targets  int
}

// overrun reports a window in which more was granted than a rate allows. Calls
// count as within one window only where they certainly were.
func (r Rate) overrun(calls []granted) error {
	for _, first := range calls {
		used := 0
		for _, c := range calls {
			if c == first || !c.from.Before(first.to) && c.to.Sub(first.from) < r.Window {
				used += r.cost(c.targets)
			}
		}
		if used > r.N {
			return fmt.Errorf("%v: %d within a window of %v", r, used, first)
		}
	}
	return nil
}

// A fleet of gates keeps the quotas together, in real time.
func TestFleet(t *testing.T) {
	for name, rates := range map[string][]Rate{
		"calls":             {{N: 5, Window: 100 * time.Millisecond}},
		"calls and targets": {{N: 8, Window: 100 * time.Millisecond}, {N: 60, Targets: true, Window: 250 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, client redis.UniversalClient) {
				var mu sync.Mutex
				var calls []granted
				var all sync.WaitGroup
				for worker := range 6 {
					g := New(client, Config{Namespace: "test", Quotas: Quotas{users: rates}, Patience: time.Minute})
					all.Go(func() {
						for n := range 6 {
							c, err := insist(t.Context(), g, 1+(worker*7+n*5)%20)
							if err != nil {
								t.Error(err)
							}
							mu.Lock()
							calls = append(calls, c)
							mu.Unlock()
						}
					})
				}
				all.Wait()
				for _, r := range rates {
					if err := r.overrun(calls); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// insist asks until a call is granted, and waits as told.
func insist(ctx context.Context, g *Gate, targets int) (granted, error) {
	for {
		from, err := g.client.Time(ctx).Result()
		if err != nil {
			return granted{}, err
		}
		grant, err := g.Ask(ctx, users, false, targets)
		if err != nil {
			return granted{}, err
		}
		to, err := g.client.Time(ctx).Result()
		if err != nil || grant.Calls > 0 {
			return granted{from, to, grant.Last}, err
		}
		select {
		case <-time.After(grant.Wait):
		case <-ctx.Done():
			return granted{}, ctx.Err()
		}
	}
}

// A call larger than the whole window is cut down to it.
func TestCallAboveTheLimit(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 10, Targets: true, Window: time.Minute})
		if grant := ask(t, g, 600); grant.Calls != 1 || grant.Last != 10 {
			t.Errorf("an empty window: %+v", grant)
		}
		expect(t, "all in use", ask(t, g, 1), Grant{Held: ReasonQuota}, time.Minute)
		clock.pass(time.Minute)
		expect(t, "the next", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

// The wait is until just enough calls have left the window, and no longer.
func TestWait(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 6, Targets: true, Window: time.Hour})
		for _, targets := range []int{1, 2, 3} {
			clock.pass(10 * time.Minute)
			expect(t, "fills the window", askUrgent(t, g, targets), Grant{Calls: 1}, 0)
		}
		for targets, minutes := range map[int]time.Duration{1: 40, 2: 50, 3: 50, 4: 60, 6: 60, 100: 60} {
			grant := askUrgent(t, g, targets)
			expect(t, "full", grant, Grant{Held: ReasonQuota}, minutes*time.Minute)
			if grant.Wait != minutes*time.Minute {
				t.Errorf("%d targets are told to wait for %v", targets, grant.Wait)
			}
		}
	})
}

func TestMargin(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 1, Window: time.Minute})
		g.cfg.Margin = 30 * time.Second
		ask(t, g, 1)
		clock.pass(time.Minute)
		expect(t, "within the margin", ask(t, g, 1), Grant{Held: ReasonQuota}, 30*time.Second)
		clock.pass(30 * time.Second)
		expect(t, "behind it", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

// askRate asks for a call of a job that may send 60 targets a second.
func askRate(t *testing.T, g *Gate, job string, targets int) Grant {
	t.Helper()
	grant, err := g.AskRate(t.Context(), job, targets, 60)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

func TestAskRate(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 5, Window: time.Minute})
		expect(t, "the whole of a second", askRate(t, g, "a", 60), Grant{Calls: 1}, 0)
		expect(t, "above it", askRate(t, g, "a", 1), Grant{Held: ReasonQuota}, time.Second)
		expect(t, "another job", askRate(t, g, "b", 60), Grant{Calls: 1}, 0)
		expect(t, "the quota of the type", ask(t, g, 600), Grant{Calls: 1}, 0)
		if block, err := g.Blocked(t.Context(), users); block.Reason != "" || err != nil {
			t.Errorf("the type is blocked by one job: %+v, %v", block, err)
		}
		// Nothing of a job stays behind, also when it ends while it waits.
		for _, key := range client.Keys(t.Context(), "*gate:job:*").Val() {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 3*time.Second {
				t.Errorf("%s stays for %v", key, ttl)
			}
		}
		clock.pass(time.Second)
		expect(t, "a second later", askRate(t, g, "a", 60), Grant{Calls: 1}, 0)
	})
}

// The caller of AskRate takes a grant for the whole call: it is never cut down.
func TestAskRateGrantsWholeCalls(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		second := record{rate: Rate{N: 60, Targets: true, Window: time.Second}}
		began, sent := clock.now, 0
		for clock.now.Sub(began) < 20*time.Second {
			grant := askRate(t, g, "j", 7)
			if clock.pass(grant.Wait); grant.Calls == 0 {
				continue
			}
			if grant.Last != 7 {
				t.Fatalf("after %v: %+v", clock.now.Sub(began), grant)
			}
			at := clock.now.Sub(began)
			second.calls = append(second.calls, entry{at, clock.now, 7})
			if used := second.used(at); used > 60 {
				t.Fatalf("%d targets within a second", used)
			}
			sent += 7
		}
		if sent < 20*56*95/100 { // eight calls a second fit
			t.Errorf("%d targets within 20 s", sent)
		}
	})
}

// Pacing goes by itself; a hold that begins meanwhile does not.
func TestHoldOutlivesPacing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for name, begin := range map[string]func(g *Gate){
			"reported":  func(g *Gate) { report(t, g, false, hold(ReasonPlan), time.Minute) },
			"throttled": func(g *Gate) { throttled(t, g, Throttle{Scope: ScopeCalls, Asked: time.Minute}, time.Minute) },
		} {
			client.FlushDB(t.Context())
			clock, g := newGate(client, Rate{N: 1, Window: time.Hour})
			key := g.key(users, "state")
			ask(t, g, 1)
			ask(t, g, 1)
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Hour+2*time.Second {
				t.Errorf("pacing stays for %v", ttl)
			}
			begin(g)
			clock.pass(time.Minute)
			ask(t, g, 1) // paced, and held
			if ttl := client.PTTL(t.Context(), key).Val(); ttl != -1 {
				t.Errorf("%s: the hold goes after %v", name, ttl)
			}
		}
	})
}

// A server's clock that is set back, or a replica's that goes behind: the
// quota holds, and nothing stands still for longer than two windows.
func TestClockSetBack(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		const window = 10 * time.Minute
		rate := Rate{N: 2, Targets: true, Window: window}
		for name, tt := range map[string]struct {
			back  time.Duration
			again bool // the window is open at once
			wait  time.Duration
		}{
			"a little":           {5 * time.Minute, false, window + 5*time.Minute},
			"almost one window":  {window - time.Minute, false, 2 * window},
			"more than a window": {window + time.Minute, true, 0},
			"a day":              {24 * time.Hour, true, 0},
		} {
			client.FlushDB(t.Context())
			clock, g := newGate(client, rate)
			ask(t, g, 2)
			clock.pass(-tt.back)
			grant := ask(t, g, 2)
			if (grant.Calls > 0) != tt.again || grant.Wait > tt.wait {
				t.Errorf("%s: %+v", name, grant)
			}
			clock.pass(grant.Wait)
			if !tt.again {
				expect(t, name+", then", ask(t, g, 2), Grant{Calls: 1}, 0)
			}
		}
		// An old call that stands behind a newer one does not open the window.
		client.FlushDB(t.Context())
		clock, g := newGate(client, rate)
		ask(t, g, 1)
		clock.pass(-5 * time.Minute)
		ask(t, g, 1)
		clock.pass(11 * time.Minute)
		expect(t, "one call within the window", ask(t, g, 2), Grant{Held: ReasonQuota}, 4*time.Minute)
	})
}
