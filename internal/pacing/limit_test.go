package pacing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// try is a call at a time, and whether the limit has room for it.
type try struct {
	at      time.Duration
	targets int
	fits    bool
}

func TestLimit(t *testing.T) {
	halved := []Step{{2 * time.Second, 1}}
	for name, tt := range map[string]struct {
		limit Limit
		tries []try
	}{
		"fixed: windows begin anew at once": {
			Limit{N: 2, Unit: Calls, Window: time.Second, Kind: Fixed},
			[]try{{0, 9, true}, {900 * ms, 9, true}, {999 * ms, 9, false}, {1000 * ms, 9, true}, {1001 * ms, 9, true}, {1002 * ms, 9, false}, {5 * time.Second, 9, true}},
		},
		"fixed: a phase moves them": {
			Limit{N: 1, Unit: Calls, Window: time.Second, Kind: Fixed, Phase: 300 * ms},
			[]try{{0, 1, true}, {299 * ms, 1, false}, {300 * ms, 1, true}, {1299 * ms, 1, false}, {1300 * ms, 1, true}},
		},
		"fixed: targets, and a call that no window holds": {
			Limit{N: 100, Unit: Targets, Window: time.Second, Kind: Fixed},
			[]try{{0, 101, false}, {0, 60, true}, {0, 41, false}, {0, 40, true}, {500 * ms, 1, false}, {time.Second, 100, true}},
		},
		"fixed: halved within a window": {
			Limit{N: 2, Unit: Calls, Window: 4 * time.Second, Kind: Fixed, Steps: halved},
			[]try{{0, 1, true}, {1999 * ms, 1, true}, {2 * time.Second, 1, false}, {4 * time.Second, 1, true}, {4 * time.Second, 1, false}},
		},
		"sliding: each call leaves by itself": {
			Limit{N: 2, Unit: Calls, Window: time.Second, Kind: Sliding},
			[]try{{0, 1, true}, {600 * ms, 1, true}, {999 * ms, 1, false}, {1000 * ms, 1, true}, {1001 * ms, 1, false}, {1600 * ms, 1, true}},
		},
		"sliding: targets": {
			Limit{N: 100, Unit: Targets, Window: time.Second, Kind: Sliding},
			[]try{{0, 70, true}, {500 * ms, 31, false}, {500 * ms, 30, true}, {1000 * ms, 71, false}, {1000 * ms, 70, true}},
		},
		"sliding: halved, what went before counts": {
			Limit{N: 2, Unit: Calls, Window: time.Second, Kind: Sliding, Steps: halved},
			[]try{{1500 * ms, 1, true}, {1600 * ms, 1, true}, {2500 * ms, 1, false}, {2600 * ms, 1, true}, {3500 * ms, 1, false}, {3600 * ms, 1, true}},
		},
		"bucket: a burst, then drop by drop": {
			Limit{N: 2, Unit: Calls, Window: time.Second, Kind: Bucket},
			[]try{{0, 1, true}, {0, 1, true}, {499 * ms, 1, false}, {500 * ms, 1, true}, {999 * ms, 1, false}, {1000 * ms, 1, true}, {time.Minute, 1, true}, {time.Minute, 1, true}, {time.Minute, 1, false}},
		},
		"bucket: halved, it holds less and fills more slowly": {
			Limit{N: 2, Unit: Calls, Window: time.Second, Kind: Bucket, Steps: halved},
			[]try{{1750 * ms, 1, true}, {1750 * ms, 1, true}, {2 * time.Second, 1, false}, {2499 * ms, 1, false}, {3000 * ms, 1, true}, {3999 * ms, 1, false}, {4000 * ms, 1, true}, {time.Minute, 1, true}, {time.Minute, 1, false}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counter{Limit: tt.limit}
			for i, try := range tt.tries {
				if got := c.fits(try.at, try.targets); got != try.fits {
					t.Fatalf("call %d at %v: fits = %v, want %v", i, try.at, got, try.fits)
				}
				if try.fits {
					c.charge(try.targets)
				}
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	l := Limit{N: 20, Window: 10 * time.Second, Steps: []Step{{10 * time.Second, 10}, {20 * time.Second, 40}}}
	for _, tt := range []struct {
		from, to time.Duration
		want     float64
	}{
		{0, 10 * time.Second, 20},
		{5 * time.Second, 15 * time.Second, 15},
		{10 * time.Second, 20 * time.Second, 10},
		{0, 30 * time.Second, 70},
		{20 * time.Second, 20 * time.Second, 0},
	} {
		if got := l.allowed(tt.from, tt.to); got != tt.want {
			t.Errorf("from %v to %v: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestUp(t *testing.T) {
	l := Link{Outages: []Span{{10 * ms, 20 * ms}, {30 * ms, 40 * ms}}}
	for _, tt := range []struct {
		from, to time.Duration
		want     []Span
	}{
		{0, 50 * ms, []Span{{0, 10 * ms}, {20 * ms, 30 * ms}, {40 * ms, 50 * ms}}},
		{15 * ms, 35 * ms, []Span{{20 * ms, 30 * ms}}},
		{10 * ms, 20 * ms, nil},
		{0, 10 * ms, []Span{{0, 10 * ms}}},
		{20 * ms, 25 * ms, []Span{{20 * ms, 25 * ms}}},
	} {
		if diff := cmp.Diff(tt.want, l.up(tt.from, tt.to)); diff != "" {
			t.Errorf("from %v to %v:\n%s", tt.from, tt.to, diff)
		}
	}
}
