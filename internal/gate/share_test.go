package gate

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// steady is a share after half a minute of 20 calls a second with 100 targets
// each, granted two at a time.
func steady() (s share, now time.Time) {
	now = newClock().now
	for range 300 {
		now = now.Add(100 * time.Millisecond)
		s.note(now, Grant{Calls: 2, Last: 100}, []int{100, 100, 100})
	}
	return s, now
}

// alone is how many calls go within a time without the gate.
func (s *share) alone(t *testing.T, now time.Time, length time.Duration, targets ...int) (calls int) {
	t.Helper()
	for end := now.Add(length); now.Before(end); {
		grant := s.grant(now, false, targets)
		all := grant.Calls == len(targets)
		if all != (grant.Wait == 0) || grant.Calls > len(targets) || grant.Calls > 0 && grant.Last != targets[grant.Calls-1] || grant.Probe {
			t.Fatalf("%+v", grant)
		}
		calls += grant.Calls
		now = now.Add(grant.Wait)
	}
	return calls
}

func TestShare(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare     func(s *share, now time.Time)
		targets     []int
		least, most int // calls within 20 s
	}{
		"as before":            {nil, []int{100, 100}, 340, 420},
		"larger calls":         {nil, []int{200}, 170, 212},
		"smaller calls":        {nil, []int{1}, 340, 420}, // not more of them
		"a call was cut down":  {func(s *share, now time.Time) { s.note(now, Grant{Calls: 1, Last: 1}, []int{600}) }, []int{100}, 340, 420},
		"paced":                {func(s *share, now time.Time) { s.note(now, Grant{Held: ReasonQuota, Wait: time.Hour}, []int{1}) }, []int{100}, 340, 420},
		"held for 10 s":        {func(s *share, now time.Time) { s.note(now, Grant{Held: ReasonPlan, Wait: 10 * time.Second}, []int{1}) }, []int{100}, 170, 220},
		"held for a minute":    {func(s *share, now time.Time) { s.note(now, Grant{Held: ReasonOutage, Wait: time.Minute}, []int{1}) }, []int{100}, 0, 0},
		"nothing was granted":  {func(s *share, _ time.Time) { *s = share{} }, []int{100}, 0, 0},
		"less and less":        {func(s *share, now time.Time) { s.note(now.Add(20*time.Second), Grant{Calls: 1, Last: 100}, []int{100}) }, []int{100}, 45, 60},
		"nothing for an hour,": {func(s *share, now time.Time) { s.note(now.Add(time.Hour), Grant{Calls: 1, Last: 100}, []int{100}) }, []int{100}, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := steady()
			if tt.prepare != nil {
				tt.prepare(&s, now)
			}
			if n := s.alone(t, now, 20*time.Second, tt.targets...); n < tt.least || n > tt.most {
				t.Errorf("%d calls in 20 s, want %d to %d", n, tt.least, tt.most)
			}
		})
	}
}

// Without the gate, too, urgent calls do not wait behind bulk; they are charged to it.
func TestShareOfUrgentCalls(t *testing.T) {
	s, now := steady()
	s.alone(t, now, 5*time.Second, 100)
	now = now.Add(5 * time.Second)
	for s.grant(now, false, []int{100}).Calls > 0 {
	}
	urgent := 0
	for s.grant(now, true, []int{1}).Calls > 0 {
		urgent++
	}
	if urgent < 10 || urgent > 25 {
		t.Errorf("%d urgent calls went at once", urgent)
	}
	if grant := s.grant(now, false, []int{100}); grant.Calls > 0 || grant.Wait < 500*time.Millisecond {
		t.Errorf("bulk: %+v", grant)
	}
}

// What is told of one round is not mixed with that of another.
func TestTold(t *testing.T) {
	var sum told
	add := func(ticket Ticket, targets int64) {
		sum.add(told{calls: 1, targets: targets, ticket: ticket, inCalls: 1, inTargets: [2]int64{1, targets}})
	}
	add(Ticket{calls: 1, targets: 5}, 10)
	add(Ticket{calls: 1, targets: 5}, 20)
	add(Ticket{calls: 2, targets: 5}, 30) // the round in calls is over
	add(Ticket{calls: 1, targets: 6}, 40) // a late answer; and so is that in targets
	want := told{calls: 4, targets: 100, ticket: Ticket{calls: 2, targets: 6}, inCalls: 1, inTargets: [2]int64{1, 40}}
	if sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	sum.add(told{})
	if sum != want {
		t.Errorf("with nothing new: %+v", sum)
	}
}

// A gate that cannot be asked lets calls go by the last share, and hears later
// what it could not be told meanwhile.
func TestAskWithoutRedis(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		w := &wire{}
		client.AddHook(w)
		alone := func() Grant {
			t.Helper()
			w.broken.Store(true)
			defer w.broken.Store(false)
			grant, err := g.Ask(t.Context(), users, false, 7, 7)
			if !errors.Is(err, errBroken) {
				t.Errorf("%v", err)
			}
			return grant
		}
		expect(t, "nothing was granted before", alone(), Grant{}, time.Second)
		if _, err := g.Ask(t.Context(), users, false, 7); !errors.Is(err, errBroken) {
			t.Errorf("asked again at once: %v", err)
		}
		clock.pass(askAgain)
		var tickets []Ticket
		for range 3 {
			tickets = append(tickets, ask(t, g, 7, 7).Ticket)
		}
		for _, ticket := range tickets {
			g.Accepted(users, ticket, 7)
		}
		if grant := alone(); grant.Calls != 1 || grant.Last != 7 || grant.Wait <= 0 || grant.Wait > 5*time.Second {
			t.Errorf("%+v", grant)
		}
		expect(t, "not faster than before", alone(), Grant{}, 5*time.Second)
		clock.pass(askAgain)
		g.Accepted(users, tickets[0], 7)
		answers := func() string { return client.HGet(t.Context(), g.paces(users)[1], "sum").Val() }
		if n := answers(); n != "" {
			t.Errorf("%s targets before they were told", n)
		}
		ask(t, g, 7)
		if n := answers(); n != "28" {
			t.Errorf("%s targets, want 28", n)
		}
		ask(t, g, 7)
		if n := answers(); n != "28" {
			t.Errorf("%s targets, told twice", n)
		}
		report(t, g, false, hold(ReasonPlan), time.Minute)
		expect(t, "held", ask(t, g, 7), Grant{Held: ReasonPlan}, time.Minute)
		expect(t, "and then away", alone(), Grant{}, time.Minute)
		clock.pass(time.Minute)
		probe(t, g, ReasonPlan)
	})
}

// The gate waits for Redis no longer than it has patience.
func TestPatience(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client)
		client.AddHook(&wire{silent: true})
		g.cfg.Patience = 20 * time.Millisecond
		if grant, err := g.Ask(t.Context(), users, false, 1); err == nil || grant.Calls > 0 || grant.Wait <= 0 {
			t.Errorf("%+v, %v", grant, err)
		}
	})
}
