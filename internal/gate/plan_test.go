package gate

import (
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
	perSecond := Rate{N: 100, Window: time.Second} // 99 of them for bulk calls
	perMinute := Rate{N: 6000, Targets: true, Window: time.Minute}
	for name, tt := range map[string]struct {
		calls, targets int
		rates          []Rate
		last           time.Duration
		binding        int
	}{
		"no rate":                      {1_000_000, 600, nil, 0, -1},
		"a single call":                {1, 1, []Rate{perSecond}, 0, -1},
		"even spacing":                 {100, 1, []Rate{perSecond}, time.Second, 0},
		"many windows":                 {99_001, 1, []Rate{perSecond}, 1000 * time.Second, 0},
		"targets":                      {100, 600, []Rate{perSecond, perMinute}, 10 * time.Minute, 1},
		"a million at the usual quota": {4001, 250, []Rate{perSecond, perMinute}, 1_000_000 * time.Minute / 5940, 1},
		"small calls":                  {991, 1, []Rate{perSecond, perMinute}, 10 * time.Second, 0},
		"larger than a window":         {3, 600, []Rate{{N: 99, Targets: true, Window: time.Second}}, 2 * time.Second, 0},
		"longer than anybody waits":    {1_000_000, 1, []Rate{{N: 1, Window: math.MaxInt64}}, horizon, 0},
	} {
		t.Run(name, func(t *testing.T) {
			last, binding := forecast(tt.calls, tt.targets, tt.rates...)
			if (last-tt.last).Abs() > time.Millisecond || binding != tt.binding {
				t.Errorf("the last call goes after %v by rate %d, want %v by rate %d", last, binding, tt.last, tt.binding)
			}
		})
	}
}

func TestForecastMargin(t *testing.T) {
	f := NewForecast(20*time.Millisecond, Rate{N: 1, Window: time.Second})
	f.Cap(20*time.Millisecond, 50)
	for n := range time.Duration(3) {
		if at := f.Call(1); at != n*1020*time.Millisecond {
			t.Errorf("call %d goes after %v", n, at)
		}
	}
	f.Call(150)
	if last := f.Call(1); last != 4080*time.Millisecond || f.Binding() != 0 {
		t.Errorf("%v by rate %d", last, f.Binding())
	}
	if capped := f.Call(50) + f.Call(50) - 2*f.Call(1); capped > 0 {
		t.Errorf("calls go %v before those that came later", capped)
	}
}

// A forecast is what the gate then does, but for the little that it lets go
// ahead of its time and for the calls that it cuts down.
func TestForecastIsTheGates(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		rates := []Rate{{N: 20, Window: time.Second}, {N: 300, Targets: true, Window: 5 * time.Second}}
		cfg := Config{Namespace: "test", Quotas: Quotas{"users": rates}, Patience: time.Minute, Clock: func() time.Time { return now }}
		g, f, start := New(client, cfg), NewForecast(0, rates...), now
		for call := range 200 {
			targets := 1 + call%5
			for {
				grant, err := g.Ask(t.Context(), "users", false, targets)
				if err != nil {
					t.Fatal(err)
				}
				if grant.Calls > 0 {
					break
				}
				now = now.Add(grant.Wait)
			}
			at, early := f.Call(targets), 1500*time.Millisecond
			if passed := now.Sub(start); passed > at+time.Millisecond || passed < at-early {
				t.Fatalf("call %d went after %v, the forecast is %v", call, passed, at)
			}
		}
	})
}
