package gate

import (
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// forecast is when the last of so many equal calls goes, and by which rate.
func forecast(calls, targets int, rates ...Rate) (last time.Duration, binding int) {
	f := NewForecast(0, rates...)
	for range calls {
		last = f.Call(targets)
	}
	return last, f.Binding()
}

func TestForecast(t *testing.T) {
	perSecond := Rate{N: 100, Window: time.Second}
	perMinute := Rate{N: 6000, Targets: true, Window: time.Minute}
	for name, tt := range map[string]struct {
		calls, targets int
		rates          []Rate
		last           time.Duration
		binding        int
	}{
		"no rate":                      {1_000_000, 600, nil, 0, -1},
		"a window's worth":             {100, 1, []Rate{perSecond}, 0, -1},
		"one more":                     {101, 1, []Rate{perSecond}, time.Second, 0},
		"many windows":                 {100_000, 1, []Rate{perSecond}, 999 * time.Second, 0},
		"a minute of targets":          {10, 600, []Rate{perSecond, perMinute}, 0, -1},
		"a million at the usual quota": {4000, 250, []Rate{perSecond, perMinute}, 166 * time.Minute, 1},
		"calls that do not fill it":    {7, 2500, []Rate{perMinute}, 3 * time.Minute, 0},
		"small calls":                  {6000, 1, []Rate{perSecond, perMinute}, 59 * time.Second, 0},
		"larger than a window":         {3, 600, []Rate{{N: 100, Targets: true, Window: time.Second}}, 2 * time.Second, 0},
		"a job's own cap":              {11, 50, []Rate{perSecond, perMinute, {N: 50, Targets: true, Window: time.Second}}, 10 * time.Second, 2},
		"longer than anybody waits":    {1_000_000, 1, []Rate{{N: 1, Window: math.MaxInt64}}, horizon, 0},
	} {
		t.Run(name, func(t *testing.T) {
			last, binding := forecast(tt.calls, tt.targets, tt.rates...)
			if last != tt.last || binding != tt.binding {
				t.Errorf("the last call goes after %v by rate %d, want %v by rate %d", last, binding, tt.last, tt.binding)
			}
		})
	}
}

func TestForecastMargin(t *testing.T) {
	f := NewForecast(20*time.Millisecond, Rate{N: 1, Window: time.Second})
	for n := range time.Duration(3) {
		if at := f.Call(1); at != n*1020*time.Millisecond {
			t.Errorf("call %d goes after %v", n, at)
		}
	}
}

// earliest finds by trial when a call may go: now, or when one of the calls
// before has left its window.
func earliest(before []moment, targets int, now time.Duration, rates []Rate) time.Duration {
	best := time.Duration(math.MaxInt64)
	fits := func(at time.Duration) bool {
		for _, r := range rates {
			used := r.cost(targets)
			for _, c := range before {
				if at-c.at < r.Window {
					used += r.cost(c.cost)
				}
			}
			if used > r.N {
				return false
			}
		}
		return true
	}
	if fits(now) {
		return now
	}
	for _, c := range before {
		for _, r := range rates {
			if at := c.at + r.Window; at > now && at < best && fits(at) {
				best = at
			}
		}
	}
	return best
}

// A forecast is what trying out every moment gives.
func TestForecastIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := drawRates(t)
		f, now := NewForecast(0, rates...), time.Duration(0)
		var before []moment // each with its targets for a cost
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			targets := rapid.SampledFrom([]int{1, 1, 2, 3, 5, 100}).Draw(t, "targets")
			now = earliest(before, targets, now, rates)
			before = append(before, moment{now, targets})
			if got := f.Call(targets); got != now {
				t.Fatalf("call %d goes after %v, want %v (%v)", len(before), got, now, rates)
			}
		}
		for _, w := range f.windows {
			if len(w.calls) > w.rate.N {
				t.Errorf("%d moments are kept for %v", len(w.calls), w.rate)
			}
		}
	})
}

// A forecast is what the gate then does.
func TestForecastIsTheGates(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		const slack = time.Minute // for this test to run in: the gate's clock goes on
		rates := []Rate{{N: 3, Window: time.Hour}, {N: 20, Targets: true, Window: 5 * time.Hour}, {N: 30, Window: 24 * time.Hour}}
		g, f, passed := newGate(client, rates...), NewForecast(0, rates...), time.Duration(0)
		for call := range 60 {
			targets := 1 + call%5
			for grant := ask(t, g, targets); grant.Calls == 0; grant = ask(t, g, targets) {
				pass(t, client, grant.Wait)
				passed += grant.Wait
			}
			if at := f.Call(targets); passed > at || at-passed > slack {
				t.Fatalf("call %d went after %v, the forecast is %v", call, passed, at)
			}
		}
	})
}
