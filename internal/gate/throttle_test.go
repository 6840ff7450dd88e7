package gate

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// throttled tells the gate of a call that was refused for a quota, and holds that
// calls are then held for so long.
func throttled(t *testing.T, g *Gate, th Throttle, want time.Duration) {
	t.Helper()
	got, err := g.Throttled(t.Context(), users, th)
	if err != nil || got != want {
		t.Errorf("held for %v, want %v (%v)", got, want, err)
	}
}

// onBoth runs a test for both scopes, on each Redis.
func onBoth(t *testing.T, test func(t *testing.T, client redis.UniversalClient, scope Scope)) {
	t.Helper()
	for _, scope := range []Scope{ScopeCalls, ScopeTargets} {
		t.Run(string(scope), func(t *testing.T) {
			onEach(t, func(t *testing.T, client redis.UniversalClient) { test(t, client, scope) })
		})
	}
}

// shortest is the first hold for a quota that is used up.
const shortest = 150 * time.Millisecond

// useUp refuses four calls in a row, which hold all calls. The first of them was
// 300 ms ago then.
func useUp(t *testing.T, c *clock, g *Gate, scope Scope) {
	t.Helper()
	for range 3 {
		throttled(t, g, Throttle{Scope: scope}, 0)
		c.pass(100 * time.Millisecond)
	}
	throttled(t, g, Throttle{Scope: scope}, shortest)
}

func blocked(t *testing.T, g *Gate, want Reason) {
	t.Helper()
	if block, err := g.Blocked(t.Context(), users); block.Reason != want || err != nil {
		t.Errorf("blocked: %+v, %v; want %q", block, err, want)
	}
}

// Calls that are refused among others that pass hold nothing.
func TestIsolatedThrottles(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		for range 10 {
			var grant Grant
			for range 10 {
				grant = ask(t, g, 1)
				expect(t, "between", grant, Grant{Calls: 1}, 0)
				g.Accepted(users, grant.Ticket, 1)
			}
			for range 3 {
				throttled(t, g, Throttle{Scope: scope, Ticket: grant.Ticket}, 0)
				clock.pass(200 * time.Millisecond)
			}
		}
		blocked(t, g, "")
	})
}

// So do those of a single moment, however many: they were all in flight.
func TestThrottlesOfOneMoment(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		for range 20 {
			throttled(t, g, Throttle{Scope: scope}, 0)
			clock.pass(12 * time.Millisecond)
		}
		clock.pass(10 * time.Millisecond)
		throttled(t, g, Throttle{Scope: scope}, shortest) // 250 ms after the first
	})
}

// Nor are those of yesterday in a row with one of today.
func TestThrottlesBeforeAnIdleTime(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		for range 3 {
			throttled(t, g, Throttle{Scope: scope, Ticket: ask(t, g, 1).Ticket}, 0)
		}
		clock.pass(24 * time.Hour)
		throttled(t, g, Throttle{Scope: scope, Ticket: ask(t, g, 1).Ticket}, 0)
	})
}

func TestQuotaUsedUp(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		began := clock.now
		useUp(t, clock, g, scope)
		expect(t, "used up", ask(t, g, 1), Grant{Held: ReasonQuota}, shortest)
		expect(t, "for urgent calls, too", askUrgent(t, g, 1), Grant{Held: ReasonQuota}, shortest)
		blocked(t, g, ReasonQuota)
		wait := shortest
		for _, later := range []time.Duration{0, 0, 2 * time.Second, 100 * time.Second, time.Hour} {
			clock.pass(wait + later)
			probe(t, g, ReasonQuota)
			expect(t, "while a probe is on its way", ask(t, g, 1), Grant{Held: ReasonQuota}, probeTimeout)
			wait = max(shortest, min(clock.now.Sub(began)/20, 30*time.Second))
			throttled(t, g, Throttle{Scope: scope, Probe: true}, wait)
		}
		clock.pass(wait)
		probe(t, g, ReasonQuota)
		passed(t, g)
		blocked(t, g, "")
		clock.pass(time.Minute)
		expect(t, "open again", ask(t, g, 1), Grant{Calls: 1}, 0)
		useUp(t, clock, g, scope) // all begins anew
	})
}

// Where the API says how long to wait, one refused call is enough.
func TestThrottleThatAsks(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		throttled(t, g, Throttle{Scope: scope, Asked: 3 * time.Second}, 3*time.Second)
		expect(t, "held", ask(t, g, 1), Grant{Held: ReasonQuota}, 3*time.Second)
		clock.pass(3 * time.Second)
		probe(t, g, ReasonQuota)
		throttled(t, g, Throttle{Scope: scope, Probe: true, Asked: time.Hour}, time.Hour)
		clock.pass(time.Hour)
		probe(t, g, ReasonQuota)
		passed(t, g)
		expect(t, "open again", ask(t, g, 1, 1, 1), Grant{Calls: 3}, 0) // nothing is learned of a single refusal
		throttled(t, g, Throttle{Scope: scope, Asked: time.Millisecond}, shortest)
	})
}

// Refusals of calls that were in flight when the hold began lengthen nothing,
// if the API does not ask for it.
func TestLateThrottles(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		useUp(t, clock, g, scope)
		clock.pass(50 * time.Millisecond)
		for range 10 {
			throttled(t, g, Throttle{Scope: scope}, shortest-50*time.Millisecond)
			throttled(t, g, Throttle{Scope: ScopeCalls}, shortest-50*time.Millisecond)
		}
		clock.pass(shortest)
		throttled(t, g, Throttle{Scope: scope}, time.Microsecond) // held until a probe has passed
		probe(t, g, ReasonQuota)
		throttled(t, g, Throttle{Scope: scope}, probeTimeout)
		throttled(t, g, Throttle{Scope: scope, Probe: true}, shortest) // the first that failed
		throttled(t, g, Throttle{Scope: scope, Asked: time.Minute}, time.Minute)
		throttled(t, g, Throttle{Scope: scope}, time.Minute)
		blocked(t, g, ReasonQuota)
	})
}

// An API that refuses a call for its quota is there, knows the app, and has a plan.
func TestThrottleEndsAnotherHold(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		for _, reason := range []Reason{ReasonOutage, ReasonPlan, ReasonUnauthorized} {
			for _, asked := range []time.Duration{0, time.Second} {
				client.FlushDB(t.Context())
				clock, g := newGate(client)
				report(t, g, false, hold(reason), time.Minute)
				throttled(t, g, Throttle{Scope: scope}, time.Minute) // made before it
				blocked(t, g, reason)
				clock.pass(time.Minute)
				probe(t, g, reason)
				throttled(t, g, Throttle{Scope: scope, Probe: true, Asked: asked}, asked)
				if asked > 0 {
					blocked(t, g, ReasonQuota)
					clock.pass(asked)
					probe(t, g, ReasonQuota)
					passed(t, g)
				}
				blocked(t, g, "")
				expect(t, "then", ask(t, g, 1), Grant{Calls: 1}, 0)
			}
		}
	})
}

func TestThrottleEndsTheRowOfAnOutage(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		_, g := newGate(client)
		for range 3 {
			report(t, g, false, row(ReasonOutage, ""), 0)
			report(t, g, false, row(ReasonOutage, ""), 0)
			throttled(t, g, Throttle{Scope: scope}, 0)
		}
		blocked(t, g, "")
	})
}

// A graver reason takes the place of a used up quota, and leaves nothing of it.
func TestHoldAfterThrottles(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		useUp(t, clock, g, scope)
		clock.pass(shortest)
		probe(t, g, ReasonQuota)
		report(t, g, true, hold(ReasonPlan), time.Minute)
		blocked(t, g, ReasonPlan)
		clock.pass(time.Minute)
		probe(t, g, ReasonPlan)
		passed(t, g)
		expect(t, "after", ask(t, g, 1, 1), Grant{Calls: 2}, 0)
		useUp(t, clock, g, scope) // all begins anew
	})
}

// Where no probe of a whole call passes however long it takes, smaller ones try;
// and what passes then says how large calls may be.
func TestProbesBecomeSmaller(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		useUp(t, clock, g, ScopeTargets)
		for try, want := range []int{100, 100, 100, 100, 100, 100, 50, 25, 12} {
			clock.pass(30 * time.Second)
			grant := ask(t, g, 100, 100)
			if grant.Calls != 1 || !grant.Probe || grant.Last != want || grant.Wait > time.Millisecond {
				t.Fatalf("probe %d: %+v, want %d targets", try, grant, want)
			}
			if want > 12 {
				if _, err := g.Throttled(t.Context(), users, Throttle{Scope: ScopeTargets, Probe: true}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			g.Accepted(users, grant.Ticket, grant.Last)
			passed(t, g)
		}
		clock.pass(time.Second)
		if grant := ask(t, g, 100, 100); grant.Calls != 1 || grant.Last > 12 || grant.Last < 1 || grant.Wait <= 0 {
			t.Errorf("a call of 100 targets, where 12 have passed: %+v", grant)
		}
	})
}
