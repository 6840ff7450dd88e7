package pacing

import (
	"math"
	"testing"
	"time"
)

// verdicts plays calls with so many targets each, all at one time.
func verdicts(s *server, at time.Duration, targets ...int) (list []Verdict) {
	for _, n := range targets {
		list = append(list, s.decide(at, n))
	}
	return list
}

func TestDecide(t *testing.T) {
	l := Link{
		Limits: []Limit{
			{N: 3, Unit: Calls, Window: time.Second, Kind: Sliding},
			{N: 100, Unit: Targets, Window: time.Second, Kind: Sliding},
		},
		Outages: []Span{{time.Second, 2 * time.Second}},
	}
	s := newServer(l, 1)
	got := verdicts(s, 0, 60, 60, 40, 1)
	got = append(got, verdicts(s, 500*ms, 1)...)
	got = append(got, verdicts(s, 1500*ms, 1)...)
	got = append(got, verdicts(s, 2000*ms, 50, 30, 20, 20)...)
	want := []Verdict{
		Accepted, RefusedTargets, Accepted, RefusedTargets, // what is refused for one limit takes nothing of the other
		RefusedTargets,
		Unreached,
		Accepted, Accepted, Accepted, RefusedCalls,
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("call %d: %s, want %s", i, got[i], want[i])
		}
	}
}

// TestChargeRefused: who goes on calling is never let in again.
func TestChargeRefused(t *testing.T) {
	for _, kind := range []Kind{Fixed, Sliding, Bucket} {
		for _, charge := range []bool{false, true} {
			s := newServer(Link{Limits: []Limit{{N: 10, Unit: Calls, Window: time.Second, Kind: kind, ChargeRefused: charge}}}, 1)
			accepted := 0
			for at := time.Duration(0); at < 10*time.Second; at += 10 * ms {
				if s.decide(at, 1) == Accepted {
					accepted++
				}
			}
			want := 100
			switch {
			case kind == Bucket && !charge:
				want = 110 - 1 // the bucket is full at first, and the last drop is not there yet
			case kind == Bucket:
				want = 11 // filled by a tenth of a call while each takes one
			case kind == Sliding && charge:
				want = 10
			}
			if accepted != want {
				t.Errorf("%s, refused calls are charged: %v: %d accepted, want %d", kind, charge, accepted, want)
			}
		}
	}
}

func TestNoise(t *testing.T) {
	s := newServer(Link{Noise: 0.08, Limits: []Limit{{N: 100_000, Unit: Calls, Window: time.Hour, Kind: Fixed}}}, 1)
	const calls = 20_000
	refused := 0
	for range calls {
		if s.decide(0, 1) == RefusedCalls {
			refused++
		}
	}
	if share := float64(refused) / calls; math.Abs(share-0.08) > 0.01 {
		t.Errorf("%.3f are refused, want 0.08", share)
	}
	if used := s.counters[0].used; int(used) != calls-refused {
		t.Errorf("the limit was charged with %v calls, want %d", used, calls-refused)
	}
}

func TestDelay(t *testing.T) {
	s := newServer(Link{Latency: 20 * ms, Jitter: 380 * ms}, 1)
	const calls = 10_000
	least, most, sum := time.Hour, time.Duration(0), time.Duration(0)
	for range calls {
		d := s.delay()
		least, most, sum = min(least, d), max(most, d), sum+d
	}
	if least < 20*ms || most >= 400*ms || most-least < 370*ms {
		t.Errorf("calls take %v to %v, want 20ms to 400ms", least, most)
	}
	if mean := sum / calls; mean < 200*ms || mean > 220*ms {
		t.Errorf("calls take %v in the mean, want 210ms", mean)
	}
	if d := newServer(Link{Latency: ms}, 1).delay(); d != ms {
		t.Errorf("without jitter a call takes %v, want 1ms", d)
	}
}
