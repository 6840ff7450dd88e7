package tasks

import (
	"errors"
	"fmt"
	"testing"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

func TestHoldsAreToldInTheAPIsOwnWords(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		hold   gate.Hold
		want   string
	}{
		"a refusal": {
			fmt.Errorf("in a call: %w", &apiclient.Error{Kind: apiclient.KindRejected, Status: 400, Code: "illegal_argument", Description: "from is not allowed"}),
			gate.Hold{Alike: "400 illegal_argument"}, "400 illegal_argument: from is not allowed",
		},
		"no answer":                              {&apiclient.Error{Kind: apiclient.KindUnavailable, Err: errors.New("connection refused")}, gate.Hold{}, "unavailable: connection refused"},
		"a 200 in which every target is refused": {nil, gate.Hold{Alike: "200 blocked"}, "200 blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inWords(c.answer, c.hold); got != c.want {
				t.Errorf("inWords = %q, want %q", got, c.want)
			}
		})
	}
}
