package gate

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// row is a hold that takes three answers alike.
func row(reason Reason, alike string) Hold {
	return Hold{Reason: reason, Base: time.Minute, Max: time.Minute, Row: 3, Alike: alike}
}

func TestRow(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		other := clock.gate(client)
		if g.InRow(users) {
			t.Error("a row at the start")
		}
		report(t, g, false, row(ReasonRejected, "400 a"), 0)
		report(t, other, false, row(ReasonRejected, "400 a"), 0)
		passed(t, other) // a success between
		report(t, g, false, row(ReasonRejected, "400 a"), 0)
		report(t, g, false, row(ReasonRejected, "400 a"), 0)
		report(t, g, false, row(ReasonRejected, "403 b"), 0) // not alike
		report(t, other, false, row(ReasonOutage, ""), 0)    // says nothing of what is refused
		report(t, g, false, row(ReasonRejected, "403 b"), 0)
		expect(t, "before", ask(t, other, 1), Grant{Calls: 1}, 0)
		if !g.InRow(users) || !other.InRow(users) {
			t.Error("not all know of the row")
		}
		report(t, other, false, row(ReasonRejected, "403 b"), time.Minute)
		report(t, g, false, row(ReasonRejected, "403 b"), time.Minute) // it was on its way
		expect(t, "held", ask(t, g, 1), Grant{Held: ReasonRejected}, time.Minute)
		if err := other.Passed(t.Context(), users, false); err != nil { // that, too
			t.Fatal(err)
		}
		clock.pass(time.Minute)
		probe(t, g, ReasonRejected)
		report(t, g, true, row(ReasonRejected, "400 c"), time.Minute) // for another cause, but again
		clock.pass(time.Minute)
		probe(t, g, ReasonRejected)
		passed(t, g)
		report(t, g, false, row(ReasonRejected, "400 c"), 0) // all begins anew
		passed(t, g)
		if n := client.Exists(t.Context(), g.key(users, "state")).Val(); n != 0 || g.InRow(users) {
			t.Error("a state is left")
		}
	})
}

func TestShortRowThatLasts(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		few := Hold{Reason: ReasonOutage, Base: time.Minute, Max: time.Minute, Row: 8, Few: time.Hour}
		report(t, g, false, few, 0)
		clock.pass(few.Few)
		report(t, g, false, few, time.Minute) // the second of eight, and long after the first
	})
}

// The answer to a probe that is soft trouble of another kind.
func TestProbeMeetsOtherTrouble(t *testing.T) {
	for _, tt := range []struct {
		held, met Reason
		want      Reason // afterwards
	}{
		{ReasonPlan, ReasonRejected, ""},       // the API takes calls again, if not this one
		{ReasonOutage, ReasonRejected, ""},     // it is there
		{ReasonQuota, ReasonOutage, ""},        // the window has passed
		{ReasonPlan, ReasonOutage, ReasonPlan}, // nothing is known
		{ReasonRejected, ReasonOutage, ReasonRejected},
	} {
		t.Run(string(tt.held+" meets "+tt.met), func(t *testing.T) {
			onEach(t, func(t *testing.T, client redis.UniversalClient) {
				clock, g := newGate(client)
				standStill(t, g, tt.held)
				clock.pass(time.Minute)
				probe(t, g, tt.held)
				want := time.Duration(0)
				if tt.want != "" {
					want = time.Minute
				}
				report(t, g, true, row(tt.met, ""), want)
				if block, err := g.Blocked(t.Context(), users); block.Reason != tt.want || err != nil {
					t.Errorf("%+v, %v", block, err)
				}
				if !g.InRow(users) {
					t.Error("it does not count")
				}
			})
		})
	}
}

// That the API has spoken, whatever it said, is the end of an outage's row.
func TestAnswersEndTheRowOfAnOutage(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		_, g := newGate(client)
		for i := range 3 {
			report(t, g, false, row(ReasonOutage, ""), 0)
			report(t, g, false, row(ReasonOutage, ""), 0)
			report(t, g, false, row(ReasonRejected, strconv.Itoa(i)), 0)
		}
		expect(t, "then", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

// From its beginning until a probe has passed, a hold is one: also between its
// end and the next probe.
func TestHeldUntilAProbeHasPassed(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		for _, want := range []time.Duration{0, 0, time.Minute} {
			report(t, g, false, row(ReasonRejected, "400 a"), want)
		}
		clock.pass(time.Minute)
		report(t, g, false, row(ReasonRejected, "400 a"), time.Microsecond)
		probe(t, g, ReasonRejected)
	})
}

// How long the API asked to wait stands, whatever else happens meanwhile.
func TestRetryAfterStands(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		throttled(t, g, Throttle{Scope: ScopeTargets, Asked: time.Hour}, time.Hour)
		for _, want := range []time.Duration{0, 0, time.Hour} {
			report(t, g, false, row(ReasonRejected, "400 a"), want)
		}
		expect(t, "held for another reason", ask(t, g, 1), Grant{Held: ReasonRejected}, time.Hour)

		clock.pass(time.Hour)
		probe(t, g, ReasonRejected)
		again := hold(ReasonRejected)
		again.Asked = 3 * time.Hour // longer than the probe may take
		report(t, g, false, again, 3*time.Hour)
		if err := g.Unused(t.Context(), users); err != nil {
			t.Fatal(err)
		}
		expect(t, "a probe was not made", ask(t, g, 1), Grant{Held: ReasonRejected}, 3*time.Hour)
	})
}

// A probe's answer that is no success ends the hold that it was to find out
// about, and nothing else.
func TestOver(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		report(t, g, false, row(ReasonRejected, "400 a"), 0)
		for _, meanwhile := range []Reason{"", ReasonUnauthorized} {
			standStill(t, g, ReasonQuota)
			clock.pass(time.Minute)
			probe(t, g, ReasonQuota)
			if meanwhile != "" {
				report(t, g, false, hold(meanwhile), probeTimeout)
			}
			if err := g.Over(t.Context(), users, ReasonQuota); err != nil {
				t.Fatal(err)
			}
			if block, err := g.Blocked(t.Context(), users); block.Reason != meanwhile || err != nil || !g.InRow(users) {
				t.Errorf("%+v, %v; in a row: %v", block, err, g.InRow(users))
			}
		}
	})
}

func TestHoldWhoseClockWasSetBack(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		report(t, g, false, hold(ReasonOutage), time.Minute)
		clock.pass(-time.Hour)
		probe(t, g, ReasonOutage)
	})
}
