package gate

import (
	"fmt"
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
		g, other := newGate(client), newGate(client)
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
		pass(t, client, time.Minute)
		probe(t, g, ReasonRejected)
		report(t, g, true, row(ReasonRejected, "400 c"), time.Minute) // for another cause, but again
		pass(t, client, time.Minute)
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
		g := newGate(client)
		few := Hold{Reason: ReasonOutage, Base: time.Minute, Max: time.Minute, Row: 8, Few: time.Hour}
		report(t, g, false, few, 0)
		var count, first int64
		stored := client.HGet(t.Context(), g.key(users, "state"), "row:outage").Val()
		if _, err := fmt.Sscanf(stored, "%d %d", &count, &first); err != nil || count != 1 {
			t.Fatal(stored, err)
		}
		old := fmt.Sprintf("1 %d ", first-few.Few.Microseconds())
		if err := client.HSet(t.Context(), g.key(users, "state"), "row:outage", old).Err(); err != nil {
			t.Fatal(err)
		}
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
				g := newGate(client)
				report(t, g, false, hold(tt.held), time.Minute)
				pass(t, client, time.Minute)
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
		g := newGate(client)
		for range 3 {
			report(t, g, false, row(ReasonOutage, ""), 0)
			report(t, g, false, row(ReasonOutage, ""), 0)
			report(t, g, false, row(ReasonRejected, time.Now().String()), 0)
		}
		expect(t, "then", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

// From its beginning until a probe has passed, a hold is one: also between its
// end and the next probe.
func TestHeldUntilAProbeHasPassed(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client)
		for _, want := range []time.Duration{0, 0, time.Minute} {
			report(t, g, false, row(ReasonRejected, "400 a"), want)
		}
		pass(t, client, time.Minute)
		report(t, g, false, row(ReasonRejected, "400 a"), time.Microsecond)
		probe(t, g, ReasonRejected)
	})
}

// How long the API asked to wait stands, whatever else happens meanwhile.
func TestRetryAfterStands(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGate(client)
		asked := hold(ReasonQuota)
		asked.Asked = time.Hour
		report(t, g, false, asked, time.Hour)
		for _, want := range []time.Duration{0, 0, time.Hour} {
			report(t, g, false, row(ReasonRejected, "400 a"), want)
		}
		expect(t, "held for another reason", ask(t, g, 1), Grant{Held: ReasonRejected}, time.Hour)

		pass(t, client, time.Hour)
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
		g := newGate(client)
		report(t, g, false, row(ReasonRejected, "400 a"), 0)
		for _, meanwhile := range []Reason{"", ReasonUnauthorized} {
			report(t, g, false, hold(ReasonQuota), time.Minute)
			pass(t, client, time.Minute)
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
		g := newGate(client)
		report(t, g, false, hold(ReasonOutage), time.Minute)
		for _, field := range []string{"until", "at"} { // both are an hour ahead now
			if err := client.HIncrBy(t.Context(), g.key(users, "state"), field, time.Hour.Microseconds()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		probe(t, g, ReasonOutage)
	})
}
