package pacing

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/gate"
)

// scripted grants by a function, and remembers what it is told.
type scripted struct {
	grant func(urgent bool, targets []int) gate.Grant
	said  []string
	row   bool
}

func (p *scripted) Ask(_ context.Context, _ string, urgent bool, targets ...int) (gate.Grant, error) {
	return p.grant(urgent, targets), nil
}

func (p *scripted) Accepted(string, gate.Ticket, int) { p.said = append(p.said, "accepted") }

func (p *scripted) Throttled(_ context.Context, _ string, t gate.Throttle) (time.Duration, error) {
	p.said = append(p.said, "throttled "+string(t.Scope))
	return 0, nil
}

func (p *scripted) Passed(context.Context, string, bool) error {
	p.said = append(p.said, "passed")
	return nil
}

func (p *scripted) Report(_ context.Context, _ string, _ bool, h gate.Hold) (time.Duration, error) {
	p.said = append(p.said, string(h.Reason))
	return 0, nil
}

func (p *scripted) InRow(string) bool { return p.row }

// reckless grants whatever is asked for.
func reckless(_ bool, targets []int) gate.Grant {
	return gate.Grant{Calls: len(targets), Last: targets[len(targets)-1]}
}

// playWith plays a scenario with one and the same pacer for all workers.
func playWith(t *testing.T, s Scenario, newPacer func(now func() time.Time) pacer) *Result {
	t.Helper()
	var shared pacer
	r, err := play(t.Context(), s, 1, func(now func() time.Time) pacer {
		if shared == nil {
			shared = newPacer(now)
		}
		return shared
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPlay compares two that know no gate: one that knows the link sees all of
// it used and nothing refused, and one that grants everything sees most refused.
// So the bands measure what they say.
func TestPlay(t *testing.T) {
	for _, kind := range []Kind{Fixed, Sliding, Bucket} {
		s := Scenario{
			Link:   Link{Latency: 50 * ms, Limits: []Limit{perSecond(20, kind), targets(1500, time.Second, kind)}},
			Fleet:  three(Range{Least: 100}),
			Length: 40 * time.Second,
		}
		r := playWith(t, s, func(now func() time.Time) pacer {
			twin := newServer(s.Link, 1)
			return &scripted{grant: func(_ bool, targets []int) gate.Grant {
				for i, n := range targets {
					if twin.decide(now().Sub(epoch)+s.Link.Latency/2, n) != Accepted {
						return gate.Grant{Calls: i, Wait: 5 * ms}
					}
				}
				return gate.Grant{Calls: len(targets)}
			}}
		})
		const from, to = 10 * time.Second, 40 * time.Second
		if used, refused := r.Used(from, to), r.Refused(0, to); used < 0.99 || used > 1.01 || refused > 0 {
			t.Errorf("%s, who knows the link: %.3f used, %.3f refused", kind, used, refused)
		}
		r = playWith(t, s, func(func() time.Time) pacer { return &scripted{grant: reckless} })
		// 33 calls in flight of 50 ms each are 660 a second, of which 15 are accepted.
		if used, refused := r.Used(from, to), r.Refused(from, to); used < 0.99 || used > 1.01 || refused < 0.97 || refused > 0.98 {
			t.Errorf("%s, who does not wait: %.3f used, %.3f refused", kind, used, refused)
		}
	}
}

// TestPlayWithoutLimits: what a fleet can do is what it has places for.
func TestPlayWithoutLimits(t *testing.T) {
	s := Scenario{Link: Link{Latency: 90 * ms, Jitter: 20 * ms, Noise: 0.1}, Fleet: three(Range{Least: 1}), Length: 30 * time.Second}
	r := playWith(t, s, func(func() time.Time) pacer { return &scripted{grant: reckless} })
	if used := r.Used(time.Second, s.Length); used < 0.98 || used > 1.02 {
		t.Errorf("%.3f of what the fleet can do is used, want 1", used)
	}
}

// TestAnswersAreTold: of every call the gate hears what it has to.
func TestAnswersAreTold(t *testing.T) {
	for name, tt := range map[string]struct {
		link       Link
		row, probe bool
		want       []string
	}{
		"accepted":            {want: []string{"accepted"}},
		"429":                 {link: Link{Noise: 1}, want: []string{"throttled calls"}},
		"403":                 {link: Link{Limits: []Limit{targets(1, time.Second, Fixed)}}, want: []string{"throttled targets"}},
		"unreached":           {link: Link{Outages: []Span{{0, time.Hour}}}, want: []string{"outage"}},
		"accepted in a row":   {row: true, want: []string{"accepted", "passed"}},
		"accepted as a probe": {probe: true, want: []string{"accepted", "passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := Scenario{Link: tt.link, Fleet: Fleet{Workers: 1, Places: 1, Batch: Range{Least: 10}}, Length: 300 * ms}
			s.Link.Latency = 200 * ms // one call's time
			p := &scripted{row: tt.row}
			p.grant = func(_ bool, targets []int) gate.Grant { return gate.Grant{Calls: 1, Probe: tt.probe} }
			r := playWith(t, s, func(func() time.Time) pacer { return p })
			if len(r.Calls) < 1 || !cmp.Equal(p.said, tt.want) {
				t.Errorf("after %d calls the gate has heard %q, want %q", len(r.Calls), p.said, tt.want)
			}
		})
	}
}

// TestTargetsAreKept: a call that is cut down leaves the rest to the next ones,
// and what was refused is offered again.
func TestTargetsAreKept(t *testing.T) {
	s := Scenario{
		Link:   Link{Latency: 10 * ms, Limits: []Limit{targets(100, time.Second, Sliding)}},
		Fleet:  Fleet{Workers: 1, Places: 1, Batch: Range{Least: 250}},
		Length: 10 * time.Second,
	}
	r := playWith(t, s, func(func() time.Time) pacer {
		return &scripted{grant: func(_ bool, targets []int) gate.Grant { return gate.Grant{Calls: 1, Last: min(targets[0], 100)} }}
	})
	var sizes []int
	for _, c := range r.Calls {
		if c.Verdict == Accepted {
			sizes = append(sizes, c.Targets)
		}
	}
	if want := []int{100, 100, 50, 100, 100, 50}; len(sizes) < len(want) || !cmp.Equal(sizes[:len(want)], want) {
		t.Errorf("calls of %d targets were accepted, want %d", sizes, want)
	}
}

// TestUrgent: urgent calls come up when they should, go beside bulk, and their
// waits are counted until the accepted attempt, or the end.
func TestUrgent(t *testing.T) {
	s := Scenario{
		Link:   Link{Latency: 40 * ms, Outages: []Span{{1900 * ms, 2100 * ms}}},
		Fleet:  Fleet{Workers: 2, Places: 1, Batch: Range{Least: 5}, Urgent: time.Second},
		Length: 4500 * ms,
	}
	r := playWith(t, s, func(now func() time.Time) pacer {
		return &scripted{grant: func(urgent bool, targets []int) gate.Grant {
			if urgent && now().Sub(epoch) > 3900*ms {
				return gate.Grant{Wait: time.Second}
			}
			return reckless(urgent, targets)
		}}
	})
	want := []Wait{
		{Due: time.Second},
		{Due: 2 * time.Second, Wait: 80 * ms}, // two attempts met the outage
		{Due: 3 * time.Second},
		{Due: 4 * time.Second, Wait: 500 * ms}, // it still waits
	}
	if diff := cmp.Diff(want, r.Waits); diff != "" {
		t.Errorf("waits:\n%s", diff)
	}
	bulk := slices.IndexFunc(r.Calls, func(c Call) bool { return !c.Urgent && c.Targets == 5 })
	if bulk < 0 || r.UrgentWait(0.5, 0, s.Length) != 80*ms || r.UrgentWait(1, 0, 3500*ms) != 80*ms || r.UrgentWait(1, 0, ms) != 0 {
		t.Errorf("first bulk call %d, median %v, longest %v", bulk, r.UrgentWait(0.5, 0, s.Length), r.UrgentWait(1, 0, 3500*ms))
	}
}

func TestABadGrantEndsTheRun(t *testing.T) {
	s := Scenario{Fleet: Fleet{Workers: 1, Places: 2, Batch: Range{Least: 1}}, Length: time.Second}
	for _, grant := range []gate.Grant{{Calls: 3}, {Calls: -1}, {Calls: 2, Probe: true}} {
		_, err := play(t.Context(), s, 1, func(func() time.Time) pacer {
			return &scripted{grant: func(bool, []int) gate.Grant { return grant }}
		})
		if err == nil {
			t.Errorf("%+v of two calls was taken for a grant", grant)
		}
	}
}
