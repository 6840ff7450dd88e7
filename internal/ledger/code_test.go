package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCodes(t *testing.T) {
	type meaning struct {
		Outcome Outcome
		Reason  string
		Final   bool
	}
	want := map[Code]meaning{
		Fresh:       {OutcomePending, "", false},
		InFlight:    {OutcomePending, "", false},
		Refused:     {OutcomePending, "", false},
		Lost:        {OutcomePending, "", false},
		Doubtful:    {OutcomePending, "", false},
		Sent:        {OutcomeSent, "", true},
		AnswerLost:  {OutcomeUnknown, "answer_lost", true},
		Rejected:    {OutcomeFailed, "rejected", true},
		NotAllowed:  {OutcomeFailed, "not_allowed", true},
		TooLarge:    {OutcomeFailed, "too_large", true},
		Unsupported: {OutcomeFailed, "unsupported", true},
		GaveUp:      {OutcomeFailed, "gave_up", true},
		Cancelled:   {OutcomeCancelled, "cancelled", true},
		Expired:     {OutcomeCancelled, "expired", true},
	}
	seen := map[Outcome]bool{}
	for c := range rune(256) {
		code := Code(c)
		got := meaning{code.Outcome(), code.Reason(), code.final()}
		// A byte that is no code (yet) is pending: nobody is lost for it.
		expected, ok := want[code]
		if !ok {
			expected = meaning{Outcome: OutcomePending}
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("code %q: %s", c, diff)
		}
		seen[got.Outcome] = true
	}
	if len(seen) != len(Outcomes()) {
		t.Errorf("the codes have the outcomes %v, listed are %v", seen, Outcomes())
	}
	for _, outcome := range Outcomes() {
		if !seen[outcome] {
			t.Errorf("no code stands for %s", outcome)
		}
	}
}

func TestStates(t *testing.T) {
	ended := map[State]bool{StateFinished: true, StateCancelled: true}
	for _, state := range States() {
		if state.Ended() != ended[state] {
			t.Errorf("%s: ended %v", state, state.Ended())
		}
		delete(ended, state)
	}
	if len(ended) > 0 {
		t.Errorf("not listed: %v", ended)
	}
}
