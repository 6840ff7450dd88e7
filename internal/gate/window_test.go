package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// granted is a call that was granted between two moments.
type granted struct {
	from, to time.Time
	targets  int
}

func (r Rate) cost(targets int) int {
	if r.Targets {
		return min(targets, r.N)
	}
	return 1
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

// fits reports whether a call certainly fits the window now.
func (r Rate) fits(calls []granted, targets int, now time.Time) bool {
	used := r.cost(targets)
	for _, c := range calls {
		if now.Sub(c.to) < r.Window {
			used += r.cost(c.targets)
		}
	}
	return used <= r.N
}

func drawRates(t *rapid.T) (rates []Rate) {
	for i, window := range []time.Duration{200 * time.Millisecond, time.Second, 10 * time.Second} {
		for _, targets := range []bool{false, true} {
			if rapid.Bool().Draw(t, "rate") {
				rates = append(rates, Rate{N: rapid.IntRange(1, 6*(i+1)).Draw(t, "n"), Targets: targets, Window: window})
			}
		}
	}
	return rates
}

// Whatever the traffic: no sliding window of any quota is overrun, what
// certainly fits goes, and whoever waits as told is served.
func TestWindows(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		rapid.Check(t, func(t *rapid.T) {
			if err := client.FlushDB(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			rates := drawRates(t)
			g := newGate(client, rates...)
			var calls []granted
			ahead := time.Duration(0) // of the server's time, by the time that was made to pass
			try := func(targets ...int) Grant {
				from := serverTime(t, client).Add(ahead)
				grant := ask(t, g, targets...)
				to := serverTime(t, client).Add(ahead)
				for i, n := range targets {
					fits := true
					for _, r := range rates {
						fits = fits && r.fits(calls, n, from)
					}
					if fits && grant.Calls <= i {
						t.Errorf("call %d of %v targets fits, but %+v", i, targets, grant)
					}
					if grant.Calls <= i {
						break
					}
					calls = append(calls, granted{from, to, n})
				}
				return grant
			}
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				targets := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 2, 3, 5, 100}), 1, 4).Draw(t, "targets")
				grant := try(targets...)
				switch {
				case grant.Calls == len(targets) && grant.Wait == 0 && grant.Held == "":
				case grant.Wait <= 0 || grant.Wait > 10*time.Second || grant.Held != ReasonQuota || grant.Probe:
					t.Errorf("%+v", grant)
				case rapid.Bool().Draw(t, "waits"):
					pass(t, client, grant.Wait)
					ahead += grant.Wait
					if try(targets[grant.Calls:]...).Calls == 0 {
						t.Errorf("after %v, %v targets still have to wait", grant.Wait, targets[grant.Calls:])
					}
				}
				idle := time.Duration(rapid.SampledFrom([]int{0, 0, 0, 10, 150, 700}).Draw(t, "ms")) * time.Millisecond
				pass(t, client, idle)
				ahead += idle
			}
			for _, r := range rates {
				if err := r.overrun(calls); err != nil {
					t.Error(err)
				}
			}
			checkSize(t, client)
		})
	})
}

// checkSize holds that what is stored is bounded, and goes by itself.
func checkSize(t *rapid.T, client redis.UniversalClient) {
	for _, key := range client.Keys(t.Context(), "*").Val() {
		ttl := client.PTTL(t.Context(), key).Val()
		longest := 11*time.Second + 2*time.Millisecond // the longest window and a second
		if ttl <= 0 || ttl > longest {
			t.Errorf("%s stays for %v", key, ttl)
		}
		if strings.Contains(key, "calls:") && client.LLen(t.Context(), key).Val() > 18 {
			t.Errorf("%s is longer than any quota", key)
		}
	}
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
					g := newGate(client, rates...)
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
		grant, err := g.Ask(ctx, users, targets)
		if err != nil {
			return granted{}, err
		}
		to, err := g.client.Time(ctx).Result()
		if err != nil || grant.Calls > 0 {
			return granted{from, to, targets}, err
		}
		select {
		case <-time.After(grant.Wait):
		case <-ctx.Done():
			return granted{}, ctx.Err()
		}
	}
}

func TestCostAboveTheLimit(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client, Rate{N: 10, Targets: true, Window: time.Minute})
		expect(t, "an empty window", ask(t, g, 600), Grant{Calls: 1}, 0)
		expect(t, "one in use", ask(t, g, 1), Grant{Held: ReasonQuota}, time.Minute)
		pass(t, client, time.Minute)
		expect(t, "the next", ask(t, g, 1), Grant{Calls: 1}, 0)
		expect(t, "not quite empty", ask(t, g, 600), Grant{Held: ReasonQuota}, time.Minute)
	})
}

// The wait is until just enough calls have left the window, and no longer.
func TestWait(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client, Rate{N: 6, Targets: true, Window: time.Hour})
		for _, targets := range []int{1, 2, 3} {
			pass(t, client, 10*time.Minute)
			expect(t, "fills the window", ask(t, g, targets), Grant{Calls: 1}, 0)
		}
		for targets, minutes := range map[int]time.Duration{1: 40, 2: 50, 3: 50, 4: 60, 6: 60, 100: 60} {
			grant := ask(t, g, targets)
			expect(t, "full", grant, Grant{Held: ReasonQuota}, minutes*time.Minute)
			if grant.Wait < (minutes-1)*time.Minute {
				t.Errorf("%d targets are told to wait for %v", targets, grant.Wait)
			}
		}
	})
}

func TestMargin(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client, Rate{N: 1, Window: time.Minute})
		g.cfg.Margin = 30 * time.Second
		ask(t, g, 1)
		pass(t, client, time.Minute)
		expect(t, "within the margin", ask(t, g, 1), Grant{Held: ReasonQuota}, 30*time.Second)
		pass(t, client, 30*time.Second)
		expect(t, "behind it", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

func TestAskRate(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client, Rate{N: 5, Window: time.Minute})
		g.cfg.Margin = 20 * time.Millisecond
		rate := func(job string, targets int) Grant {
			t.Helper()
			grant, err := g.AskRate(t.Context(), job, targets, 60)
			if err != nil {
				t.Fatal(err)
			}
			return grant
		}
		const window = time.Second + 20*time.Millisecond
		for range 3 {
			expect(t, "within its rate", rate("a", 20), Grant{Calls: 1}, 0)
		}
		const slack = 900 * time.Millisecond // for a slow machine
		pass(t, client, -slack)
		expect(t, "above it", rate("a", 1), Grant{Held: ReasonQuota}, window+slack)
		expect(t, "another job", rate("b", 60), Grant{Calls: 1}, 0)
		expect(t, "the quota of the type", ask(t, g, 600), Grant{Calls: 1}, 0)
		if block, err := g.Blocked(t.Context(), users); block.Reason != "" || err != nil {
			t.Errorf("the type is blocked by one job: %+v, %v", block, err)
		}
		// Nothing of a job stays behind, also when it ends while it waits.
		for _, key := range client.Keys(t.Context(), "*gate:job:*").Val() {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 3*window {
				t.Errorf("%s stays for %v", key, ttl)
			}
		}
		pass(t, client, window+slack)
		expect(t, "a second later", rate("a", 60), Grant{Calls: 1}, 0)
	})
}

// Pacing goes by itself; a hold that begins meanwhile does not.
func TestHoldOutlivesPacing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client, Rate{N: 1, Window: time.Hour})
		key := g.key(users, "state")
		ask(t, g, 1)
		ask(t, g, 1)
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Hour+2*time.Second {
			t.Errorf("pacing stays for %v", ttl)
		}
		report(t, g, false, hold(ReasonPlan), time.Minute)
		pass(t, client, time.Minute)
		ask(t, g, 1) // paced, and held
		if ttl := client.PTTL(t.Context(), key).Val(); ttl != -1 {
			t.Errorf("the hold goes after %v", ttl)
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
			g := newGate(client, rate)
			ask(t, g, 2)
			pass(t, client, -tt.back)
			grant := ask(t, g, 2)
			if (grant.Calls > 0) != tt.again || grant.Wait > tt.wait {
				t.Errorf("%s: %+v", name, grant)
			}
			pass(t, client, grant.Wait)
			if !tt.again {
				expect(t, name+", then", ask(t, g, 2), Grant{Calls: 1}, 0)
			}
		}
		// An old call that stands behind a newer one does not open the window.
		client.FlushDB(t.Context())
		g := newGate(client, rate)
		ask(t, g, 1)
		pass(t, client, -5*time.Minute)
		ask(t, g, 1)
		pass(t, client, 11*time.Minute)
		expect(t, "one call within the window", ask(t, g, 2), Grant{Held: ReasonQuota}, 4*time.Minute)
	})
}
