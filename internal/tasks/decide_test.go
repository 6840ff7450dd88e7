package tasks

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// someBatch has n targets u10, u11, ... with indexes from 10 on.
func someBatch(n int, h history) batch {
	b := batch{history: h}
	for i := range n {
		b.lines = fmt.Appendf(b.lines, "u%d\n", 10+i)
		b.index = append(b.index, int32(10+i))
	}
	return b
}

// verdict is what the table says of a decision; delays are ranges, so they
// are held against the rest of the decision below.
type verdict struct {
	Code     ledger.Code
	Attempts int
	Again    bool
	Most     int
	Hold     gate.Reason
	IfHeld   ledger.Code // instead, 0 = the same
	Scope    apiclient.Scope
	Hints    hints
}

func TestDecideByKind(t *testing.T) {
	e := func(kind apiclient.Kind) *apiclient.Error {
		return &apiclient.Error{Kind: kind, Status: 418, Description: "the reason"}
	}
	tried := history{code: ledger.Refused, attempts: 2, waited: time.Minute}
	doubtful := history{code: ledger.Lost, attempts: 2, waited: time.Minute}
	old := history{code: ledger.Refused, attempts: 9, waited: 25 * time.Hour}
	oldLost := history{code: ledger.Doubtful, attempts: 9, waited: 25 * time.Hour}
	tests := []struct {
		name string
		err  error
		n    int
		from history
		hold bool // on_unknown
		want verdict
	}{
		{"rejected alone", e(apiclient.KindRejected), 1, history{}, false, verdict{Code: ledger.Rejected, Attempts: 1, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"rejected among others", e(apiclient.KindRejected), 5, history{}, false, verdict{Code: ledger.Refused, Again: true, Most: 3, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"too large alone", e(apiclient.KindTooLarge), 1, tried, false, verdict{Code: ledger.TooLarge, Attempts: 3, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"too large", e(apiclient.KindTooLarge), 4, history{}, false, verdict{Code: ledger.Refused, Again: true, Most: 2, Hints: hints{tooLarge: 5000}, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"too many", &apiclient.Error{Kind: apiclient.KindTooMany, Limit: 3}, 5, history{}, false, verdict{Code: ledger.Refused, Again: true, Most: 3, Hints: hints{limit: 3}}},
		{"too many, of no use", &apiclient.Error{Kind: apiclient.KindTooMany, Limit: 5}, 5, doubtful, false, verdict{Code: ledger.Doubtful, Attempts: 2, Again: true, Most: 3, Hold: gate.ReasonRejected, IfHeld: ledger.Doubtful}},
		{"not allowed", e(apiclient.KindNotAllowed), 5, history{}, false, verdict{Code: ledger.NotAllowed, Attempts: 1, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"unsupported", e(apiclient.KindUnsupported), 5, history{}, false, verdict{Code: ledger.Unsupported, Attempts: 1, Hold: gate.ReasonRejected, IfHeld: ledger.Refused}},
		{"calls throttled", &apiclient.Error{Kind: apiclient.KindThrottled, Scope: apiclient.ScopeCalls}, 5, tried, false, verdict{Code: ledger.Refused, Attempts: 2, Again: true, Scope: apiclient.ScopeCalls}},
		{"targets throttled", &apiclient.Error{Kind: apiclient.KindThrottled, Scope: apiclient.ScopeTargets}, 5, history{}, false, verdict{Code: ledger.Refused, Again: true, Scope: apiclient.ScopeTargets}},
		{"throttled after a lost answer", &apiclient.Error{Kind: apiclient.KindThrottled, Scope: apiclient.ScopeCalls}, 5, doubtful, false, verdict{Code: ledger.Doubtful, Attempts: 2, Again: true, Scope: apiclient.ScopeCalls}},
		{"throttled for a day", &apiclient.Error{Kind: apiclient.KindThrottled, Scope: apiclient.ScopeCalls}, 5, old, false, verdict{Code: ledger.Refused, Attempts: 9, Again: true, Scope: apiclient.ScopeCalls}},
		{"unauthorized", e(apiclient.KindUnauthorized), 5, history{}, false, verdict{Code: ledger.Refused, Again: true, Hold: gate.ReasonUnauthorized}},
		{"unknown app", e(apiclient.KindUnknownApp), 5, history{}, true, verdict{Code: ledger.Refused, Again: true, Hold: gate.ReasonUnknownApp}},
		{"plan used up", e(apiclient.KindPlan), 5, history{}, false, verdict{Code: ledger.Refused, Again: true, Hold: gate.ReasonPlan}},
		{"no token", e(apiclient.KindNoToken), 5, old, false, verdict{Code: ledger.Refused, Attempts: 9, Again: true}},
		{"no token after a lost answer", e(apiclient.KindNoToken), 5, oldLost, true, verdict{Code: ledger.Doubtful, Attempts: 9, Again: true}},
		{"unavailable", e(apiclient.KindUnavailable), 5, history{}, false, verdict{Code: ledger.Refused, Attempts: 1, Again: true, Hold: gate.ReasonOutage, IfHeld: ledger.Refused}},
		{"unavailable under hold", e(apiclient.KindUnavailable), 5, history{}, true, verdict{Code: ledger.Refused, Attempts: 1, Again: true, Hold: gate.ReasonOutage, IfHeld: ledger.Refused}},
		{"unavailable after a lost answer", e(apiclient.KindUnavailable), 5, doubtful, false, verdict{Code: ledger.Doubtful, Attempts: 3, Again: true, Hold: gate.ReasonOutage, IfHeld: ledger.Doubtful}},
		{"given up", e(apiclient.KindUnavailable), 5, old, false, verdict{Code: ledger.GaveUp, Attempts: 10, Hold: gate.ReasonOutage, IfHeld: ledger.Refused}},
		{"given up after a lost answer", e(apiclient.KindUnavailable), 5, oldLost, false, verdict{Code: ledger.AnswerLost, Attempts: 10, Hold: gate.ReasonOutage, IfHeld: ledger.Doubtful}},
		{"lost", e(apiclient.KindUnknown), 5, tried, false, verdict{Code: ledger.Lost, Attempts: 3, Again: true, Hold: gate.ReasonOutage, IfHeld: ledger.Lost}},
		{"lost under hold", e(apiclient.KindUnknown), 5, tried, true, verdict{Code: ledger.AnswerLost, Attempts: 3, Hold: gate.ReasonOutage}},
		{"lost and given up", e(apiclient.KindUnknown), 5, old, false, verdict{Code: ledger.AnswerLost, Attempts: 10, Hold: gate.ReasonOutage, IfHeld: ledger.Lost}},
		{"an error of another make", errors.New("boom"), 5, history{}, true, verdict{Code: ledger.AnswerLost, Attempts: 1, Hold: gate.ReasonOutage}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := someBatch(tt.n, tt.from)
			b.bytes = 5000
			d := decide(b, apiclient.Answer{}, tt.err, tt.hold, Policy{GiveUpAfter: 24 * time.Hour}, noon)
			if len(d.updates) != 1 || !cmp.Equal(d.updates[0].Index, b.index) {
				t.Fatalf("updates %+v are not one of all targets", d.updates)
			}
			got := verdict{
				Code: d.updates[0].Code, Attempts: d.updates[0].Attempts, Again: d.again, Most: d.most,
				Scope: d.scope, Hints: d.left.hints,
			}
			if d.hold != nil {
				got.Hold = d.hold.Reason
			}
			if d.held != nil {
				got.IfHeld = d.held.updates[0].Code
				if u := d.held.updates[0]; !d.held.again || u.Attempts != tt.from.attempts || u.Detail != "" || d.held.left.waited != tt.from.waited {
					t.Errorf("held, it counts: %+v", d.held)
				}
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(hints{})); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			if pending := got.Code.Outcome() == ledger.OutcomePending; pending != d.again {
				t.Errorf("targets are %s, again is %v", got.Code.Outcome(), d.again)
			}
			if d.again && (!cmp.Equal(d.left.index, b.index) || d.left.code != got.Code || d.left.attempts != got.Attempts) {
				t.Errorf("left is %+v", d.left.history)
			}
			if d.result == "" {
				t.Error("no result for the metrics")
			}
			if !d.again && d.updates[0].Detail == "" {
				t.Error("a final outcome says nothing of its cause")
			}
		})
	}
}

// A kind that the switch forgets would count as a lost answer.
func TestDecideKnowsEveryKind(t *testing.T) {
	for _, kind := range apiclient.Kinds() {
		d := decide(someBatch(1, history{}), apiclient.Answer{}, &apiclient.Error{Kind: kind}, true, Policy{}, noon)
		if lost := d.updates[0].Code == ledger.AnswerLost; lost != (kind == apiclient.KindUnknown) {
			t.Errorf("%s ends as %q", kind, d.updates[0].Code)
		}
	}
}

// What was refused before others passed is at fault itself: no hold comes of it.
func TestDecideCleared(t *testing.T) {
	refused := &apiclient.Error{Kind: apiclient.KindRejected, Status: 400}
	b := someBatch(4, history{})
	first := decide(b, apiclient.Answer{}, refused, false, Policy{}, noon)
	part := first.left.split(first.most, noon)[0]
	if first.hold == nil || !part.refused.Equal(noon) || part.tried || part.cleared {
		t.Errorf("first: %+v, left %+v", first.hold, part.suspicion)
	}
	again := decide(part, apiclient.Answer{}, refused, false, Policy{}, noon.Add(time.Second))
	if again.hold == nil || !again.left.refused.Equal(noon) || !again.held.left.tried || !again.held.left.refused.Equal(noon) {
		t.Errorf("again: %+v, left %+v, or %+v", again.hold, again.left.suspicion, again.held.left.suspicion)
	}
	part.cleared = true
	if last := decide(part, apiclient.Answer{}, refused, false, Policy{}, noon); last.hold != nil || last.held != nil || last.most != 1 {
		t.Errorf("cleared: %+v", last)
	}
}

func TestDecideMaxAttempts(t *testing.T) {
	for attempts, want := range map[int]ledger.Code{1: ledger.Refused, 2: ledger.GaveUp} {
		b := someBatch(3, history{attempts: attempts, last: noon})
		d := decide(b, apiclient.Answer{}, &apiclient.Error{Kind: apiclient.KindUnavailable}, false, Policy{MaxAttempts: 3}, noon)
		if d.updates[0].Code != want || d.updates[0].Attempts != attempts+1 {
			t.Errorf("attempt %d of 3: %+v, want code %q", attempts+1, d.updates[0], want)
		}
	}
}

func TestDecideDelays(t *testing.T) {
	delay := func(attempts int, told time.Duration) time.Duration {
		b := someBatch(1, history{attempts: attempts, last: noon})
		return decide(b, apiclient.Answer{}, &apiclient.Error{Kind: apiclient.KindUnavailable, RetryAfter: told}, false, Policy{}, noon).delay
	}
	for range 200 {
		for attempts, most := range map[int]time.Duration{0: 500 * time.Millisecond, 3: 4 * time.Second, 40: 10 * time.Minute} {
			if d := delay(attempts, 0); d < 0 || d > most {
				t.Fatalf("delay %v after %d attempts, at most %v", d, attempts+1, most)
			}
		}
		if d := delay(0, 7*time.Second); d < 7*time.Second {
			t.Fatalf("delay %v, the API asked for 7s", d)
		}
	}
	for told, want := range map[time.Duration]time.Duration{0: 2 * time.Second, 7 * time.Second: 7 * time.Second, 24 * time.Hour: longestAsked} {
		e := &apiclient.Error{Kind: apiclient.KindNoToken, RetryAfter: told}
		if d := decide(someBatch(1, history{}), apiclient.Answer{}, e, false, Policy{MaxAttempts: 1}, noon); d.delay != want {
			t.Errorf("no token: delay %v, want %v", d.delay, want)
		}
	}
}

func TestDecideAccepted(t *testing.T) {
	answer := apiclient.Answer{
		Failed:  []apiclient.TargetFailure{{Index: 1, Text: "blocked"}},
		Missing: []int{2, 4},
		IDs:     []string{"a", "", "", "d", ""},
	}
	const unsaid = "the answer did not mention it"
	rejected := ledger.Update{Index: []int32{11}, Code: ledger.Rejected, Attempts: 1, Detail: "blocked"}
	sent := ledger.Update{Index: []int32{10, 13}, Code: ledger.Sent, Attempts: 1, IDs: []string{"a", "d"}}
	missing := func(code ledger.Code, attempts int) ledger.Update {
		return ledger.Update{Index: []int32{12, 14}, Code: code, Attempts: attempts, Detail: unsaid}
	}

	d := decide(someBatch(5, history{}), answer, nil, false, Policy{}, noon)
	want := []ledger.Update{rejected, missing(ledger.Lost, 1), sent}
	if diff := cmp.Diff(want, d.updates); diff != "" || !d.again {
		t.Errorf("again %v, updates (-want +got):\n%s", d.again, diff)
	}
	if string(d.left.lines) != "u12\nu14\n" || !cmp.Equal(d.left.index, []int32{12, 14}) || d.left.code != ledger.Lost || d.left.attempts != 1 {
		t.Errorf("left: %q %v %+v", d.left.lines, d.left.index, d.left.history)
	}

	d = decide(someBatch(5, history{}), answer, nil, true, Policy{}, noon)
	if diff := cmp.Diff([]ledger.Update{rejected, missing(ledger.AnswerLost, 1), sent}, d.updates); diff != "" || d.again {
		t.Errorf("under hold: again %v, updates (-want +got):\n%s", d.again, diff)
	}

	d = decide(someBatch(5, history{attempts: 2}), answer, nil, false, Policy{}, noon)
	if d.again || d.updates[1].Code != ledger.AnswerLost || d.updates[1].Attempts != 3 {
		t.Errorf("what the API never mentions is sent for ever: %+v", d.updates[1])
	}

	d = decide(someBatch(2, history{}), apiclient.Answer{}, nil, false, Policy{}, noon)
	all := []ledger.Update{{Index: []int32{10, 11}, Code: ledger.Sent, Attempts: 1}}
	if diff := cmp.Diff(all, d.updates, cmpopts.EquateEmpty()); diff != "" || d.again {
		t.Errorf("all accepted: again %v, updates (-want +got):\n%s", d.again, diff)
	}
}

func TestBatchSplit(t *testing.T) {
	parts := someBatch(7, history{attempts: 1}).split(3, noon)
	var names, sizes []string
	for _, p := range parts {
		names = append(names, string(p.lines))
		sizes = append(sizes, fmt.Sprint(p.index, p.attempts, p.due.Equal(noon)))
	}
	if diff := cmp.Diff([]string{"u10\nu11\nu12\n", "u13\nu14\nu15\n", "u16\n"}, names); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"[10 11 12] 1 true", "[13 14 15] 1 true", "[16] 1 true"}, sizes); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if whole := someBatch(7, history{}).split(0, noon); len(whole) != 1 {
		t.Errorf("split(0) gives %d parts", len(whole))
	}
}

// Clocks that differ make no target older or younger than it is.
func TestDecideByAnotherClock(t *testing.T) {
	e := &apiclient.Error{Kind: apiclient.KindUnavailable}
	for last, want := range map[time.Time]time.Duration{
		noon.Add(time.Hour): time.Minute, noon.Add(-time.Hour): time.Minute + ledger.LongestWait(3), noon.Add(-time.Second): time.Minute + time.Second,
	} {
		b := someBatch(1, history{attempts: 3, waited: time.Minute, last: last})
		if d := decide(b, apiclient.Answer{}, e, false, Policy{}, noon); d.left.waited != want {
			t.Errorf("last failed at %v: waited %v, want %v", last, d.left.waited, want)
		}
	}
}

// An answer that mentions nobody is none.
func TestDecideNobodyMentioned(t *testing.T) {
	answer := apiclient.Answer{Missing: []int{0, 1}}
	d := decide(someBatch(2, history{}), answer, nil, false, Policy{}, noon)
	if d.success() || d.hold == nil || d.hold.Reason != gate.ReasonOutage || d.held.updates[0].Code != ledger.Lost || !d.again {
		t.Errorf("%+v", d)
	}
	d = decide(someBatch(2, history{}), answer, nil, true, Policy{}, noon)
	if d.success() || d.hold == nil || d.held != nil || d.again || d.updates[0].Code != ledger.AnswerLost {
		t.Errorf("under hold: %+v", d)
	}
}
