package gate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// api takes so many units in each second of the clock, and answers at once.
type api struct {
	scope  Scope
	limit  int
	window time.Time
	used   int

	accepted, refused, units int
}

// takes reports whether a call is within the limit.
func (a *api) takes(now time.Time, targets int) bool {
	if begins := now.Truncate(time.Second); !begins.Equal(a.window) {
		a.window, a.used = begins, 0
	}
	cost := 1
	if a.scope == ScopeTargets {
		cost = targets
	}
	if a.used+cost > a.limit {
		a.refused++
		return false
	}
	a.accepted, a.units, a.used = a.accepted+1, a.units+cost, a.used+cost
	return true
}

// serve makes the calls that gates grant of an endless demand, for so long. The
// gates take turns.
func (a *api) serve(t *testing.T, c *clock, length time.Duration, targets int, gates ...*Gate) {
	t.Helper()
	a.accepted, a.refused, a.units = 0, 0, 0
	end := c.now.Add(length)
	for turn := 0; c.now.Before(end); turn++ {
		g := gates[turn%len(gates)]
		grant := ask(t, g, equal(8, targets)...)
		for i := range grant.Calls {
			size := targets
			if i == grant.Calls-1 {
				size = grant.Last
			}
			a.answer(t, c, g, grant, size)
		}
		c.pass(max(min(grant.Wait, 200*time.Millisecond), time.Millisecond))
	}
}

// answer tells the gate of the answer to a call.
func (a *api) answer(t *testing.T, c *clock, g *Gate, grant Grant, targets int) {
	t.Helper()
	if !a.takes(c.now, targets) {
		if _, err := g.Throttled(t.Context(), users, Throttle{Ticket: grant.Ticket, Scope: a.scope, Probe: grant.Probe}); err != nil {
			t.Fatal(err)
		}
		return
	}
	if g.Accepted(users, grant.Ticket, targets); grant.Probe {
		passed(t, g)
	}
}

// auto is a gate that learns, and begins with ten calls a second.
func (c *clock) auto(client redis.UniversalClient) *Gate {
	g := c.gate(client)
	g.cfg.Beginning = 10
	return g
}

// believed is what the gate believes of a quota.
func believed(t *testing.T, g *Gate, scope Scope) Belief {
	t.Helper()
	all, err := g.Beliefs(t.Context(), users, g.cfg.Quotas)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if b.Scope == scope {
			return b
		}
	}
	t.Fatal("no belief of", scope)
	return Belief{}
}

// It begins slowly, grows fast, and is not paced by targets until these are refused.
func TestBeginning(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock := newClock()
		g, a := clock.auto(client), &api{scope: ScopeCalls, limit: 1 << 30}
		a.serve(t, clock, 200*time.Millisecond, 600, g)
		if a.accepted < 2 || a.accepted > 4 {
			t.Errorf("%d calls within the first 200 ms", a.accepted)
		}
		a.serve(t, clock, 1800*time.Millisecond, 600, g)
		if a.accepted < 150 || a.accepted > 10*1<<8 {
			t.Errorf("%d calls in the time after that", a.accepted)
		}
		if b := believed(t, g, ScopeTargets); b.Rate != 0 || b.Learned {
			t.Errorf("%+v", b)
		}
	})
}

// What was learned is in Redis: a program that starts goes on with it, and all
// go by it together.
func TestLearned(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock := newClock()
		g, a, targets := clock.auto(client), &api{scope: scope, limit: 20}, 1
		if scope == ScopeTargets {
			a.limit, targets = 400, 33
		}
		a.serve(t, clock, 25*time.Second, targets, g)
		good := func(what string, seconds int) {
			t.Helper()
			if a.units < seconds*a.limit*90/100 || a.refused > (a.accepted+a.refused)/10 {
				t.Errorf("%s: %d units in %d s, %d calls accepted, %d refused", what, a.units, seconds, a.accepted, a.refused)
			}
			b := believed(t, g, scope)
			if !b.Learned || b.Rate < 0.9*float64(a.limit) || b.Rate > 1.1*float64(a.limit) {
				t.Errorf("%s: %+v", what, b)
			}
		}
		a.serve(t, clock, 5*time.Second, targets, g)
		good("learned", 5)
		other := clock.auto(client)
		a.serve(t, clock, 5*time.Second, targets, other)
		good("a new program", 5)
		a.serve(t, clock, 5*time.Second, targets, g, other)
		good("both", 5)
		clock.pass(24 * time.Hour)
		a.serve(t, clock, 5*time.Second, targets, clock.auto(client))
		good("a day later", 5)
		for _, key := range client.Keys(t.Context(), "*").Val() {
			ttl := client.PTTL(t.Context(), key).Val()
			if !strings.HasSuffix(key, ":calls") && !strings.HasSuffix(key, ":targets") || ttl > remembered || ttl < remembered-time.Hour {
				t.Errorf("%s stays for %v", key, ttl)
			}
		}
	})
}

// Finding a quota open again tells how much of it there is: as much as was
// accepted since the last time.
func TestReopeningSetsTheRate(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		clock, g := newGate(client)
		one := func(accepted bool) {
			t.Helper()
			grant := ask(t, g, 5)
			if accepted {
				g.Accepted(users, grant.Ticket, 5)
			}
			if accepted && grant.Probe {
				passed(t, g)
			}
			clock.pass(10 * time.Millisecond)
		}
		for range 20 { // within 200 ms, and then they are refused
			one(true)
		}
		one(false) // the gate hears that the last one was accepted
		clock.pass(90 * time.Millisecond)
		useUp(t, clock, g, scope)
		for range 2 {
			clock.pass(shortest)
			probe(t, g, ReasonQuota)
			throttled(t, g, Throttle{Scope: scope, Probe: true}, shortest)
		}
		clock.pass(shortest)
		one(true) // a second after the beginning
		want := 20.0
		if scope == ScopeTargets {
			want *= 5
		}
		if b := believed(t, g, scope); !b.Learned || b.Rate < 0.9*want || b.Rate > 1.05*want {
			t.Errorf("%+v, want about %v", b, want)
		}
		clock.pass(time.Second)
		ask(t, g, 5, 5, 5)
		if grant := ask(t, g, 5); grant.Calls != 0 || grant.Held != ReasonQuota || grant.Wait > 300*time.Millisecond {
			t.Errorf("not paced: %+v", grant)
		}
	})
}

// Answers to calls of a round that is over say nothing of the present one.
func TestLateAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient, scope Scope) {
		_, g := newGate(client)
		present := ask(t, g, 1).Ticket
		past := Ticket{calls: present.calls - 1, targets: present.targets - 1}
		for _, ticket := range []Ticket{past, present, past} {
			g.Accepted(users, ticket, 1)
			throttled(t, g, Throttle{Scope: scope, Ticket: ticket}, 0)
			ask(t, g, 1)
		}
		v, err := client.HMGet(t.Context(), g.key(users, string(scope)), "n", "f", "got").Result()
		if want := []any{"2", "1", "1"}; err != nil || !slices.Equal(v, want) {
			t.Errorf("answers, refused, accepted: %v, want %v (%v)", v, want, err)
		}
	})
}

// A 503 may be how an API sheds load: then it counts as refused. In an outage it
// says nothing of the rate.
func TestShed(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock := newClock()
		g := clock.auto(client)
		round := func() (answered, refused string) {
			t.Helper()
			v, err := client.HMGet(t.Context(), g.paces(users)[0], "n", "f").Result()
			if err != nil {
				t.Fatal(err)
			}
			return v[0].(string), v[1].(string)
		}
		h := row(ReasonOutage, "")
		h.Shed = ask(t, g, 1).Ticket
		report(t, g, false, h, 0)
		report(t, g, false, h, 0) // with the third, the API is away
		if n, f := round(); n != "2" || f != "2" {
			t.Errorf("%s answers, %s refused", n, f)
		}
		h.Shed.calls++ // of another round than the present one
		report(t, g, false, h, time.Minute)
		if n, f := round(); n != "0" || f != "0" {
			t.Errorf("in an outage: %s answers, %s refused", n, f)
		}
	})
}
