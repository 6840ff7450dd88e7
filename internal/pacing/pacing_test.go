package pacing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"crier/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds is how often each scenario is played, each time with other chances.
const seeds = 1

// TestGate is what this package is for: in every scenario, whatever the
// chances, the gate keeps to the bands.
func TestGate(t *testing.T) {
	client := redistest.Start(t).Client()
	for _, s := range Scenarios() {
		for seed := range uint64(seeds) {
			if seed > 0 && (testing.Short() || s.Fleet.Workers > 3) { // many workers ask often, which takes long
				break
			}
			t.Run(fmt.Sprintf("%s/%d", s.Name, seed+1), func(t *testing.T) {
				t.Parallel()
				r, err := Run(t.Context(), client, s, seed+1)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range s.Bands {
					if value := b.Of(r); !b.Holds(value) {
						t.Errorf("%s: %s, want %v", s.About, b.Text(value), b)
					}
				}
			})
		}
	}
}

// TestRunRepeats: the same seed makes the same calls, another one others.
func TestRunRepeats(t *testing.T) {
	client := redistest.Start(t).Client()
	for _, name := range []string{"auto-20-sliding", "noise-3", "urgent-auto"} {
		t.Run(name, func(t *testing.T) {
			s := named(t, name)
			s.Length = 20 * time.Second
			var runs []*Result
			for _, seed := range []uint64{1, 1, 2} {
				r, err := Run(t.Context(), client, s, seed)
				if err != nil {
					t.Fatal(err)
				}
				runs = append(runs, r)
			}
			if diff := cmp.Diff(runs[0].Calls, runs[1].Calls); diff != "" {
				t.Errorf("calls of two runs with one seed:\n%.2000s", diff)
			}
			if diff := cmp.Diff(runs[0].Waits, runs[1].Waits); diff != "" {
				t.Errorf("waits of two runs with one seed:\n%.2000s", diff)
			}
			if cmp.Equal(runs[0].Calls, runs[2].Calls) {
				t.Error("another seed made the same calls")
			}
		})
	}
}

// TestRunLeavesNothing: a Redis that is shared with others is as it was.
func TestRunLeavesNothing(t *testing.T) {
	client := redistest.Start(t).Client()
	if err := client.Set(t.Context(), "other", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), client, named(t, "outage-auto"), 1); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || !cmp.Equal(keys, []string{"other"}) {
		t.Errorf("keys %q are left (%v)", keys, err)
	}
}

func TestRunRefusesABadQuota(t *testing.T) {
	client := redistest.Start(t).Client()
	s := named(t, "known-calls-fixed")
	s.Quota = "users=many"
	if _, err := Run(t.Context(), client, s, 1); err == nil || !strings.Contains(err.Error(), s.Name) {
		t.Errorf("error %v, want one that names the scenario", err)
	}
}

// named is one of the scenarios.
func named(t *testing.T, name string) Scenario {
	t.Helper()
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no scenario %q", name)
	return Scenario{}
}
