package gate

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// flow is what went of an endless demand.
type flow struct {
	at    []time.Time // of each call
	sent  int         // targets
	calls int
	cut   int // calls that were cut down
	gap   time.Duration
}

// bulk demands bulk calls without end, several at a time, and waits as told. A
// call that is cut down leaves its rest to later ones, which are whole again.
func bulk(t *testing.T, c *clock, g *Gate, length time.Duration, targets ...int) (f flow) {
	t.Helper()
	for end := c.now.Add(length); c.now.Before(end); {
		grant := ask(t, g, targets...)
		for i, n := range targets[:grant.Calls] {
			if last := len(f.at) - 1; last >= 0 {
				f.gap = max(f.gap, c.now.Sub(f.at[last]))
			}
			if i == grant.Calls-1 && grant.Last < n {
				n = grant.Last
				f.cut++
			}
			f.at, f.sent, f.calls = append(f.at, c.now), f.sent+n, f.calls+1
		}
		c.pass(grant.Wait)
	}
	return f
}

// lateness is what an asker may catch up with (grant.lua), so spacing is as even
// as that and a call; with targets an eighth of the window, up to a second.
const lateness = 50 * time.Millisecond

// Bulk calls are even, and yet nothing of the quota is lost, but for the
// hundredth that is kept for urgent ones.
func TestSpacingOfCalls(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		rate := Rate{N: 40, Window: 2 * time.Second}
		clock, g := newGate(client, rate)
		bulk(t, clock, g, rate.Window/2, 1, 1) // the start
		f := bulk(t, clock, g, 10*rate.Window, 1, 1)
		spacing := rate.Window/time.Duration(rate.N-rate.N/100) + time.Millisecond
		if f.gap > 2*spacing+lateness || f.calls < 98*rate.N/10 || f.calls > 10*rate.N {
			t.Errorf("%v: %d calls, the longest gap is %v", rate, f.calls, f.gap)
		}
	})
}

// Batches that do not fit a window fill it all the same, and few of them are cut
// down for it.
func TestSpacingOfTargets(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for targets, rate := range map[int]Rate{
			385: {N: 60000, Targets: true, Window: time.Minute},
			310: {N: 6000, Targets: true, Window: time.Minute},
			590: {N: 6000, Targets: true, Window: time.Minute},
			299: {N: 3000, Targets: true, Window: 5 * time.Second},
			37:  {N: 600, Targets: true, Window: time.Second},
		} {
			client.FlushDB(t.Context())
			clock, g := newGate(client, rate)
			bulk(t, clock, g, rate.Window, targets)
			f := bulk(t, clock, g, 10*rate.Window, targets, targets, targets)
			spacing := rate.Window * time.Duration(targets) / time.Duration(rate.N)
			if f.sent < 98*rate.N/10 || f.sent > 10*rate.N || f.cut > 11 || f.gap > 2*spacing+lateness+min(rate.Window/8, time.Second) {
				t.Errorf("%v by %d: %d targets, %d of %d calls are cut down, the longest gap is %v", rate, targets, f.sent, f.cut, f.calls, f.gap)
			}
		}
	})
}

// Who asks a bit late loses nothing by it: several workers, which wake up when
// they can.
func TestSpacingWhereAskersComeLate(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		rate := Rate{N: 50, Window: time.Second}
		clock := newClock()
		gates := []*Gate{clock.gate(client, rate), clock.gate(client, rate), clock.gate(client, rate)}
		chance := rand.New(rand.NewPCG(1, 2)) // #nosec G404: a test that can be repeated
		calls, end := 0, clock.now.Add(8*time.Second)
		for clock.now.Before(end) {
			grant := ask(t, gates[chance.IntN(3)], 1, 1)
			calls += grant.Calls
			clock.pass(grant.Wait + time.Duration(chance.IntN(20_000))*time.Microsecond)
		}
		if calls < 8*50*97/100 || calls > 8*50+5 {
			t.Errorf("%d calls in 8 s", calls)
		}
	})
}

// A call that was ready late goes a little closer to the one before, but what was
// missed is not caught up with at once.
func TestSpacingAfterAnIdleTime(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 100, Window: 10 * time.Second})
		ask(t, g, 1)
		clock.pass(10 * time.Second)
		if grant := ask(t, g, 1, 1, 1, 1, 1, 1, 1, 1); grant.Calls < 1 || grant.Calls > 3 {
			t.Errorf("%+v", grant)
		}
	})
}

// saturated is a gate by which bulk calls take all that they may of 100 calls in a second.
func saturated(t *testing.T, client redis.UniversalClient) (*clock, *Gate) {
	t.Helper()
	c, g := newGate(client, Rate{N: 100, Window: time.Second})
	if f := bulk(t, c, g, 1500*time.Millisecond, 1, 1); f.calls < 145 {
		t.Fatal(f.calls)
	}
	return c, g
}

// The hundredth that bulk calls leave is there for urgent ones at any moment.
func TestUrgentBesideBulk(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := saturated(t, client)
		for second := range 3 { // one in each: as many as the hundredth has room for
			if grant := askUrgent(t, g, 1); grant.Calls != 1 || grant.Wait != 0 || grant.Held != "" {
				t.Fatalf("second %d: %+v", second, grant)
			}
			if f := bulk(t, clock, g, time.Second, 1, 1); f.calls < 95 || f.calls > 99 {
				t.Errorf("second %d: %d bulk calls", second, f.calls)
			}
		}
	})
}

// Where the hundredth is used up, urgent calls are next in line: bulk calls get
// nothing of what becomes free until they have gone.
func TestUrgentIsNextInLine(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := saturated(t, client)
		began := clock.now
		room := askUrgent(t, g, equal(40, 1)...).Calls
		if room < 1 || room > 8 {
			t.Fatalf("the hundredth holds %d calls", room)
		}
		for n := range 10 {
			grant := askUrgent(t, g, 1)
			if grant.Calls > 0 || grant.Wait <= 0 || grant.Wait > 50*time.Millisecond || grant.Held != ReasonQuota {
				t.Fatalf("call %d: %+v", n, grant)
			}
			expect(t, "bulk", ask(t, g, 1), Grant{Held: ReasonQuota}, 200*time.Millisecond)
			clock.pass(grant.Wait)
			expect(t, "bulk, when a place is free", ask(t, g, 1), Grant{Held: ReasonQuota}, 200*time.Millisecond)
			expect(t, fmt.Sprintf("urgent call %d", n), askUrgent(t, g, 1), Grant{Calls: 1}, 0)
		}
		for ask(t, g, 1).Calls == 0 {
			clock.pass(time.Millisecond)
		}
		// The urgent calls were charged: 10 ms each, but for what bulk calls might have caught up with.
		if stood := clock.now.Sub(began); stood < time.Duration(room+10)*10*time.Millisecond-lateness-20*time.Millisecond {
			t.Errorf("bulk went on after %v", stood)
		}
	})
}

// An urgent call whose asker has gone keeps bulk calls waiting for a moment, not for ever.
func TestUrgentThatGivesUp(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		clock, g := newGate(client, Rate{N: 5, Targets: true, Window: time.Hour})
		askUrgent(t, g, 2)
		clock.pass(50 * time.Minute)
		expect(t, "too much for the window", askUrgent(t, g, 4), Grant{Held: ReasonQuota}, 10*time.Minute)
		expect(t, "bulk", ask(t, g, 1), Grant{Held: ReasonQuota}, 300*time.Millisecond)
		clock.pass(300 * time.Millisecond)
		expect(t, "bulk, then", ask(t, g, 1), Grant{Calls: 1}, 0)
	})
}

// What urgent calls take at once, bulk calls wait for: the mean stays.
func TestOverdraft(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for _, targets := range []bool{false, true} {
			client.FlushDB(t.Context())
			clock, g := newGate(client, Rate{N: 100, Targets: targets, Window: 10 * time.Second})
			if grant := askUrgent(t, g, equal(50, 1)...); grant.Calls != 50 || grant.Wait != 0 {
				t.Fatalf("%+v", grant)
			}
			grant := ask(t, g, 1)
			if grant.Calls > 0 || grant.Wait < 3500*time.Millisecond || grant.Wait > 5*time.Second {
				t.Errorf("targets %v: bulk after 50 urgent calls: %+v", targets, grant)
			}
			clock.pass(grant.Wait)
			expect(t, "then", ask(t, g, 1), Grant{Calls: 1}, 0)
		}
	})
}

// equal is n calls with so many targets.
func equal(n, targets int) []int {
	calls := make([]int, n)
	for i := range calls {
		calls[i] = targets
	}
	return calls
}

// A call that is larger than what bulk calls may have of a window goes as a
// whole quota would allow: what it really takes is charged.
func TestLargestCallIsChargedInFull(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		rate := Rate{N: 600, Targets: true, Window: time.Minute}
		_, g := newGate(client, rate)
		grant := ask(t, g, Quotas{users: {rate}}.MaxTargets(users))
		if grant.Calls != 1 || grant.Last > 594 {
			t.Errorf("bulk leaves no hundredth: %+v", grant)
		}
		for used := grant.Last; ; used++ {
			if used > rate.N {
				t.Fatalf("%d targets within a window of %d", used, rate.N)
			}
			if askUrgent(t, g, 1).Calls == 0 {
				break
			}
		}
	})
}
