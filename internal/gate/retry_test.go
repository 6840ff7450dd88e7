package gate

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRetry(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client)
		retry := func(want bool) {
			t.Helper()
			if got, err := g.Retry(t.Context(), users, ReasonUnauthorized, ReasonUnknownApp); got != want || err != nil {
				t.Errorf("retry: %v, %v", got, err)
			}
		}
		retry(false) // nothing is held
		if n := client.Exists(t.Context(), g.key(users, "state")).Val(); n != 0 {
			t.Error("a state has come into being")
		}
		for _, other := range []Reason{ReasonPlan, ReasonQuota} {
			report(t, g, false, hold(other), time.Minute)
			retry(false)
			expect(t, "held for another reason", ask(t, g, 1), Grant{Held: other}, time.Minute)
			clock.pass(time.Minute)
			probe(t, g, other)
			passed(t, g)
		}
		report(t, g, false, hold(ReasonUnauthorized), time.Minute)
		retry(true)
		probe(t, g, ReasonUnauthorized)
		expect(t, "while the probe is on its way", ask(t, g, 1), Grant{Held: ReasonUnauthorized}, probeTimeout)
		report(t, g, true, hold(ReasonUnauthorized), 2*time.Minute) // it failed: the hold grows as ever
		retry(true)
		probe(t, g, ReasonUnauthorized)
		passed(t, g)
		expect(t, "after", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}
