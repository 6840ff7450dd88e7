package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// cost is what a call takes of the window.
func (r Rate) cost(targets int) int {
	if r.Targets {
		return min(targets, r.N)
	}
	return 1
}

// record is the calls that were granted, as one sees it who keeps to a rate.
type record struct {
	rate  Rate
	calls []entry
}

// entry is a granted call.
type entry struct {
	at   time.Duration // of the time that really passed
	read time.Time     // what the clock showed
	cost int
}

// forget drops what a gate does not believe: a call that its clock shows to be
// made a whole window from now.
func (r *record) forget(now time.Time) {
	kept := r.calls[:0]
	for _, c := range r.calls {
		if c.read.Sub(now) < r.rate.Window {
			kept = append(kept, c)
		}
	}
	r.calls = kept
}

// used is what was granted within the window that ends now.
func (r *record) used(at time.Duration) (sum int) {
	for _, c := range r.calls {
		if at-c.at < r.rate.Window {
			sum += c.cost
		}
	}
	return sum
}

// world is gates that share a Redis and a clock, and what they were asked.
type world struct {
	*rapid.T
	clock   *clock
	passed  time.Duration // in truth, whatever the clock shows
	gates   []*Gate
	records []*record
	sizes   *rapid.Generator[[]int]
	longest time.Duration // window
	behind  int           // calls made by the time when the clock was set back: each may leave its window out of turn
	made    int           // calls
}

func newWorld(t *rapid.T, client redis.UniversalClient, rates []Rate) *world {
	w := &world{T: t, clock: newClock()}
	for range rapid.IntRange(1, 3).Draw(t, "workers") {
		w.gates = append(w.gates, w.clock.gate(client, rates...))
	}
	sizes := []int{1, 1, 2, 3, 5, 17, 60}
	for _, r := range rates {
		w.records = append(w.records, &record{rate: r})
		w.longest = max(w.longest, r.Window)
		if r.Targets {
			sizes = append(sizes, r.N/2, r.N-r.N/100)
		}
	}
	for i, n := range sizes {
		for _, r := range rates {
			if r.Targets { // what no window could hold is asked for elsewhere
				n = min(n, r.N-r.N/100)
			}
		}
		sizes[i] = max(n, 1)
	}
	w.sizes = rapid.SliceOfN(rapid.SampledFrom(sizes), 1, 6)
	return w
}

// ask asks, holds that no rate is overrun by what is granted, and returns what is left.
func (w *world) ask(g *Gate, urgent bool, targets []int) (left []int, grant Grant) {
	w.Helper()
	grant = askAs(w, g, urgent, targets...)
	all := grant.Calls == len(targets) && grant.Last == targets[len(targets)-1]
	if all != (grant.Wait == 0) || all != (grant.Held == "") || !all && grant.Held != ReasonQuota || grant.Probe || grant.Wait < 0 {
		w.Errorf("%v: %+v", targets, grant)
	}
	if grant.Wait > 2*w.longest {
		w.Errorf("%v, urgent: %v: told to wait for %v", targets, urgent, grant.Wait)
	}
	left = targets[grant.Calls:]
	calls := append([]int(nil), targets[:grant.Calls]...)
	if last := grant.Calls - 1; last >= 0 && grant.Last != targets[last] {
		if grant.Last < 1 || grant.Last > targets[last] || urgent {
			w.Errorf("%v, urgent: %v: %+v", targets, urgent, grant)
		}
		calls[last] = grant.Last
		left = append([]int{targets[last] - grant.Last}, left...)
	}
	w.made += len(calls)
	for _, r := range w.records {
		r.forget(w.clock.now)
		for _, n := range calls {
			r.calls = append(r.calls, entry{w.passed, w.clock.now, r.rate.cost(n)})
		}
		limit := r.rate.N
		if !urgent && len(calls) > 0 { // bulk leaves the last hundredth alone
			limit -= limit / 100
		}
		if used := r.used(w.passed); used > limit && len(calls) > 0 {
			w.Errorf("%v: %d within a window, %d of them bulk: %v, urgent: %v", r.rate, used, limit, calls, urgent)
		}
	}
	return left, grant
}

func (w *world) pass(d time.Duration) {
	d = d.Truncate(time.Microsecond) // as exact as the gate is
	w.clock.pass(d)
	w.passed += d
}

// insist asks for calls until all are granted, and waits as told.
func (w *world) insist(g *Gate, urgent bool, targets []int) {
	w.Helper()
	for refused := 0; len(targets) > 0; {
		left, grant := w.ask(g, urgent, targets)
		if grant.Calls > 0 {
			refused = 0
		} else if refused++; refused > 2+w.behind { // an urgent call may go first, if one has waited
			w.Fatalf("asked %d times, waited as told, and still refused: %v, %+v", refused, targets, grant)
		}
		targets = left
		w.pass(grant.Wait)
	}
}

func drawRates(t *rapid.T) (rates []Rate) {
	for _, window := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
		for _, targets := range []bool{false, true} {
			if rapid.Bool().Draw(t, "rate") {
				n := rapid.OneOf(rapid.IntRange(1, 12), rapid.IntRange(90, 400)).Draw(t, "n")
				rates = append(rates, Rate{N: n, Targets: targets, Window: window})
			}
		}
	}
	return rates
}

// Whatever the traffic, and whatever the clock does: no sliding window of any
// quota is overrun, bulk calls leave the last hundredth alone, and whoever waits
// as told is served.
func TestWindows(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		rapid.Check(t, func(t *rapid.T) {
			if err := client.FlushDB(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			rates := drawRates(t)
			w := newWorld(t, client, rates)
			for range rapid.IntRange(1, 40).Draw(t, "steps") {
				g := w.gates[rapid.IntRange(0, len(w.gates)-1).Draw(t, "worker")]
				urgent, targets := rapid.IntRange(0, 2).Draw(t, "urgent") == 0, w.sizes.Draw(t, "targets")
				switch rapid.IntRange(0, 20).Draw(t, "then") {
				case 0:
					w.behind = w.made
					w.clock.pass(-time.Duration(rapid.Int64Range(1, time.Hour.Microseconds()).Draw(t, "back")) * time.Microsecond)
				case 1, 2:
					w.insist(g, urgent, targets)
				default:
					_, grant := w.ask(g, urgent, targets)
					w.pass(grant.Wait * time.Duration(rapid.IntRange(0, 100).Draw(t, "waits")) / 100)
				}
				w.pass(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 10, 150, 700, 5000}).Draw(t, "ms")) * time.Millisecond)
			}
			for _, g := range w.gates {
				w.insist(g, false, w.sizes.Draw(t, "last"))
			}
			checkSize(t, client, rates)
		})
	})
}

// checkSize holds that what is stored is bounded, and goes by itself.
func checkSize(t *rapid.T, client redis.UniversalClient, rates []Rate) {
	longest, most := time.Duration(0), int64(0)
	for _, r := range rates {
		longest, most = max(longest, r.Window), max(most, int64(r.N))
	}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		limit := 2*longest + 2*time.Second
		if strings.HasSuffix(key, "}:calls") || strings.HasSuffix(key, "}:targets") { // what was learned
			limit = remembered
		}
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > limit {
			t.Errorf("%s stays for %v", key, ttl)
		}
		if kind := client.Type(t.Context(), key).Val(); kind == "list" && client.LLen(t.Context(), key).Val() > most {
			t.Errorf("%s is longer than any quota", key)
		}
	}
}

// remembered is how long what was learned stays where nothing is sent.
const remembered = 30 * 24 * time.Hour
