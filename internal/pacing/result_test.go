package pacing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMeasures(t *testing.T) {
	r := &Result{
		Scenario: Scenario{
			Link:   Link{Limits: []Limit{perSecond(4, Fixed), targets(100, 2*time.Second, Fixed)}, Outages: []Span{{2 * time.Second, 3 * time.Second}}},
			Length: 3500 * ms,
		},
		Calls: []Call{
			{At: 0, Targets: 40, Verdict: Accepted},
			{At: 900 * ms, Targets: 10, Verdict: Accepted},
			{At: 1000 * ms, Targets: 60, Verdict: RefusedTargets},
			{At: 1500 * ms, Targets: 30, Verdict: RefusedCalls},
			{At: 1900 * ms, Targets: 40, Verdict: Accepted},
			{At: 2500 * ms, Targets: 20, Verdict: Unreached},
		},
	}
	want := []Second{{Offered: 2, Accepted: 2, Allowed: 4}, {Offered: 3, Accepted: 1, Refused: 2, Allowed: 4}, {Offered: 1}, {Allowed: 4}}
	want[3].Allowed = 4 // the last stretch is a whole one
	if diff := cmp.Diff(want, r.Series(Calls, time.Second)); diff != "" {
		t.Errorf("series of calls:\n%s", diff)
	}
	wantTargets := []Second{{Offered: 180, Accepted: 90, Refused: 90, Allowed: 100}, {Offered: 20, Allowed: 50}}
	if diff := cmp.Diff(wantTargets, r.Series(Targets, 2*time.Second)); diff != "" {
		t.Errorf("series of targets:\n%s", diff)
	}
	end := r.Scenario.Length
	for _, tt := range []struct {
		band Band
		want float64
		text string
	}{
		{Band{LeastUsed, 0, 2 * time.Second, 0.95}, 0.9, "used >= 95.0 % from 0s to 2s"}, // targets bind: 90 of 100, and 3 of 8 calls
		{Band{LeastUsed, 0, 3 * time.Second, 0.9}, 0.9, "used >= 90.0 % from 0s to 3s"},  // nothing is allowed in the outage
		{Band{MostRefused, 0, end, 0.05}, 2.0 / 6, "refused <= 5.0 % from 0s to 3.5s"},
		{Band{MostRefused, 3 * time.Second, end, 0.05}, 0, "refused <= 5.0 % from 3s to 3.5s"},
		{Band{MostSent, 900 * ms, 1900 * ms, 2}, 3, "sent <= 2 calls from 900ms to 1.9s"},
		{Band{UrgentP95, 0, end, 0.1}, 0, "urgent <= 100 ms from 0s to 3.5s"},
	} {
		got := tt.band.Of(r)
		if got != tt.want || tt.band.String() != tt.text {
			t.Errorf("%v: %v, want %v of %q", tt.band, got, tt.want, tt.text)
		}
		over := tt.band.Bound * 1.01
		if holds := tt.band.Holds(over); holds != (tt.band.Measure == LeastUsed) || !tt.band.Holds(tt.band.Bound) {
			t.Errorf("%v: holds for %v: %v", tt.band, over, holds)
		}
	}
}

// TestScenarios: each is whole, so that the gate is measured where it has to be.
func TestScenarios(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if seen[s.Name] || s.Name == "" || s.About == "" {
			t.Errorf("%q: %q: no name of its own, or nothing about it", s.Name, s.About)
		}
		seen[s.Name] = true
		if s.Fleet.Workers < 1 || s.Fleet.Places < 1 || s.Fleet.Batch.Least < 1 || s.Link.Latency == 0 {
			t.Errorf("%s: %+v", s.Name, s.Fleet)
		}
		if len(s.Bands) == 0 {
			t.Errorf("%s has no bands", s.Name)
		}
		for _, b := range s.Bands {
			if b.From >= b.To || b.To > s.Length || b.Bound <= 0 {
				t.Errorf("%s: %v in a run of %v", s.Name, b, s.Length)
			}
			for _, l := range s.Link.Limits {
				if b.Measure == LeastUsed && (b.To-b.From)%l.Window != 0 {
					t.Errorf("%s: %v is no whole number of windows of %v", s.Name, b, l.Window)
				}
			}
		}
	}
}
