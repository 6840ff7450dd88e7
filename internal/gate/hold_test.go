package gate

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// hold is one of a minute, at most five.
func hold(reason Reason) Hold { return Hold{Reason: reason, Base: time.Minute, Max: 5 * time.Minute} }

// report tells the gate of an answer; the hold that follows may be over a bit sooner.
func report(t *testing.T, g *Gate, probe bool, h Hold, want time.Duration) {
	t.Helper()
	got, err := g.Report(t.Context(), users, probe, h)
	if err != nil || got > want || got < want-want/2 {
		t.Errorf("held for %v, want %v (%v)", got, want, err)
	}
}

// standStill holds calls for a minute.
func standStill(t *testing.T, g *Gate, reason Reason) {
	t.Helper()
	if reason != ReasonQuota {
		report(t, g, false, hold(reason), time.Minute)
		return
	}
	throttled(t, g, Throttle{Scope: ScopeCalls, Asked: time.Minute}, time.Minute)
}

func passed(t *testing.T, g *Gate) {
	t.Helper()
	if err := g.Passed(t.Context(), users, true); err != nil {
		t.Fatal(err)
	}
}

// probe takes the grant of a probe, whose time must have come.
func probe(t *testing.T, g *Gate, reason Reason) {
	t.Helper()
	expect(t, "probe", ask(t, g, 1, 1), Grant{Calls: 1, Held: reason, Probe: true}, 0)
}

func TestHold(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		expect(t, "before", ask(t, g, 1), Grant{Calls: 1}, 0)
		passed(t, g) // which means nothing
		for range 2 {
			report(t, g, false, hold(ReasonPlan), time.Minute)
			for _, next := range []time.Duration{2, 4, 5, 5} { // minutes, after each probe that fails
				expect(t, "held", ask(t, g, 1), Grant{Held: ReasonPlan}, 5*time.Minute)
				clock.pass(5 * time.Minute)
				probe(t, g, ReasonPlan)
				expect(t, "while a probe is on its way", ask(t, g, 1), Grant{Held: ReasonPlan}, probeTimeout)
				report(t, g, true, hold(ReasonPlan), next*time.Minute)
			}
			clock.pass(5 * time.Minute)
			probe(t, g, ReasonPlan)
			passed(t, g) // and the next hold is a first one again
			for range 2 {
				expect(t, "after", ask(t, g, 1), Grant{Calls: 1}, 0)
			}
			if n := client.Exists(t.Context(), g.key(users, "state")).Val(); n != 0 {
				t.Error("a state is left")
			}
		}
	})
}

// A hold ends when it has said it does, and not a moment before.
func TestHoldEndsOnTime(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		report(t, g, false, hold(ReasonPlan), time.Minute)
		clock.pass(time.Minute - time.Microsecond)
		expect(t, "before its end", ask(t, g, 1), Grant{Held: ReasonPlan}, time.Microsecond)
		clock.pass(time.Microsecond)
		probe(t, g, ReasonPlan)
	})
}

func TestRetryAfter(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		h := hold(ReasonPlan)
		h.Asked = time.Hour // more than the longest
		report(t, g, false, h, time.Hour)
		expect(t, "held", ask(t, g, 1), Grant{Held: ReasonPlan}, time.Hour)
		clock.pass(time.Hour)
		probe(t, g, ReasonPlan)
		h.Asked = time.Minute // less than what a failed probe means
		report(t, g, true, h, 2*time.Minute)
	})
}

// Answers to calls that were made before the hold say nothing new, however
// late they come.
func TestStragglers(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		h := hold(ReasonPlan)
		late := h
		late.Asked = 3 * time.Minute
		state := func() string {
			all := client.HGetAll(t.Context(), g.key(users, "state")).Val()
			return all["until"] + " " + all["streak"]
		}
		report(t, g, false, h, time.Minute)
		began := state()
		for range 3 {
			report(t, g, false, h, time.Minute)
		}
		if now := state(); now != began {
			t.Errorf("until and streak went from %s to %s", began, now)
		}
		report(t, g, false, late, 3*time.Minute)
		report(t, g, false, h, 3*time.Minute)
		clock.pass(3 * time.Minute)

		report(t, g, false, h, time.Microsecond) // between the end of the hold and the probe: held it is
		probe(t, g, ReasonPlan)
		report(t, g, false, h, probeTimeout)
		report(t, g, true, h, 2*time.Minute) // the first failed probe
		report(t, g, false, late, 3*time.Minute)
	})
}

func TestHoldOfAnotherReason(t *testing.T) {
	reasons := []Reason{ReasonUnauthorized, ReasonUnknownApp, ReasonPlan}
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for _, held := range reasons {
			for _, reported := range reasons {
				for _, isProbe := range []bool{false, true} {
					clock, g := newGate(client)
					passed(t, g)
					report(t, g, false, hold(held), time.Minute)
					wait := time.Minute
					if isProbe {
						clock.pass(time.Minute)
						probe(t, g, held)
						if held == reported {
							wait = 2 * time.Minute
						}
					}
					report(t, g, isProbe, hold(reported), wait)
					expect(t, string(held)+", then "+string(reported), ask(t, g, 1), Grant{Held: reported}, wait)
				}
			}
		}
	})
}

func TestOneProbeAtATime(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock := newClock()
		gates := []*Gate{clock.gate(client), clock.gate(client)}
		report(t, gates[0], false, hold(ReasonUnknownApp), time.Minute)
		for range 2 { // the first probe never reports
			var probes atomic.Int32
			var all sync.WaitGroup
			clock.pass(probeTimeout)
			for i := range 16 {
				all.Go(func() {
					grant, err := gates[i%2].Ask(t.Context(), users, i%3 == 0, 1)
					if err != nil || (grant.Calls > 0) != grant.Probe || grant.Held != ReasonUnknownApp {
						t.Errorf("%+v, %v", grant, err)
					}
					if grant.Calls > 0 {
						probes.Add(1)
					}
				})
			}
			all.Wait()
			if n := probes.Load(); n != 1 {
				t.Errorf("%d probes at a time", n)
			}
		}
	})
}

// A probe is charged to the quota like any call, and waits for it.
func TestUnusedProbeGoesToTheNext(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		if err := g.Unused(t.Context(), users); err != nil {
			t.Fatal(err)
		}
		if n := client.Exists(t.Context(), g.key(users, "state")).Val(); n != 0 {
			t.Error("without a hold there is nothing to return, and nothing to keep")
		}
		report(t, g, false, hold(ReasonPlan), time.Minute)
		clock.pass(time.Minute)
		probe(t, g, ReasonPlan)
		if err := g.Unused(t.Context(), users); err != nil {
			t.Fatal(err)
		}
		probe(t, g, ReasonPlan)
	})
}

func TestProbeWithinTheQuota(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 1, Window: time.Hour})
		ask(t, g, 1)
		report(t, g, false, hold(ReasonPlan), time.Minute)
		clock.pass(5 * time.Minute)
		expect(t, "window used up", ask(t, g, 1), Grant{Held: ReasonPlan}, 55*time.Minute)
		clock.pass(55 * time.Minute)
		probe(t, g, ReasonPlan)
		passed(t, g)
		expect(t, "after the probe", ask(t, g, 1), Grant{Held: ReasonQuota}, time.Hour)
	})
}

func TestHoldsAreOfOneType(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		report(t, g, false, hold(ReasonPlan), time.Minute)
		if grant, err := g.Ask(t.Context(), "chatrooms", false, 1); grant.Calls == 0 || err != nil {
			t.Errorf("%+v, %v", grant, err)
		}
		other := New(client, Config{Namespace: "test2", ProbeTimeout: probeTimeout, Patience: time.Minute, Clock: clock.time})
		expect(t, "another namespace", ask(t, other, 1), Grant{Calls: 1}, 0)
	})
}

func TestBlocked(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 1, Window: time.Hour})
		blocked := func(what string, reason Reason, age time.Duration) {
			t.Helper()
			block, err := g.Blocked(t.Context(), users)
			if err != nil || block.Reason != reason {
				t.Errorf("%s: %+v, %v; want %q", what, block, err, reason)
			}
			if got := clock.now.Sub(block.Since); reason != "" && got != age {
				t.Errorf("%s: since %v, want %v", what, got, age)
			}
		}
		blocked("nothing has happened", "", 0)
		ask(t, g, 1)
		blocked("a grant", "", 0)
		ask(t, g, 1)
		blocked("paced", ReasonQuota, 0)
		clock.pass(30 * time.Minute)
		ask(t, g, 1)
		blocked("still paced", ReasonQuota, 30*time.Minute)
		clock.pass(30 * time.Minute)
		blocked("the window has passed, nobody asks", "", 0)
		expect(t, "then", ask(t, g, 1), Grant{Calls: 1}, 0)
		blocked("paced no more", "", 0)

		report(t, g, false, hold(ReasonPlan), time.Minute)
		blocked("held", ReasonPlan, 0)
		clock.pass(time.Hour)
		blocked("until a probe has passed", ReasonPlan, time.Hour)
		probe(t, g, ReasonPlan)
		report(t, g, true, hold(ReasonUnauthorized), time.Minute)
		blocked("for another reason, but as long", ReasonUnauthorized, time.Hour)
		passed(t, g)
		blocked("calls go again", "", 0)
	})
}

// What a large call has to wait for, a small one may not.
func TestGrantEndsPacing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client, Rate{N: 3, Targets: true, Window: time.Hour})
		for _, tt := range []struct {
			targets int
			want    Reason
		}{{1, ""}, {3, ReasonQuota}, {2, ""}} {
			askUrgent(t, g, tt.targets)
			if block, err := g.Blocked(t.Context(), users); block.Reason != tt.want || err != nil {
				t.Errorf("after %d targets: %+v, %v", tt.targets, block, err)
			}
		}
	})
}

// A wait of less than a second is how pacing always is, and not worth a word.
func TestShortWaitsBlockNothing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client, Rate{N: 1, Window: 900 * time.Millisecond})
		ask(t, g, 1)
		ask(t, g, 1)
		if block, err := g.Blocked(t.Context(), users); block.Reason != "" || err != nil {
			t.Errorf("%+v, %v", block, err)
		}
	})
}
