package tasks

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"crier/internal/apiclient"
	"crier/internal/ledger"
	"crier/internal/targets"
)

func TestSubmitIsIdempotent(t *testing.T) {
	r := newRig(t, nil)
	document := `{"id":"j1","target":["u1","U2","u1"],` + hello + `}`
	if done := r.submit(document, nil); done != (Submitted{ID: "j1", Created: true, Total: 2, Duplicates: 1}) {
		t.Errorf("first: %+v", done)
	}
	if done := r.submit(strings.Replace(document, `"U2"`, `"u2"`, 1), nil); done.Created || done.ID != "j1" {
		t.Errorf("again: %+v", done)
	}
	for _, other := range []string{
		strings.Replace(document, "hello", "bye", 1),
		strings.Replace(document, `"U2"`, `"u3"`, 1),
		strings.Replace(document, `"u1","U2"`, `"u2","u1"`, 1), // another list
	} {
		if _, err := r.trySubmit(other, nil); !errors.Is(err, ledger.ErrConflict) || !strings.Contains(err.Error(), `"j1"`) {
			t.Errorf("error %v for %s", err, other)
		}
	}
	if job, err := r.book.Job(t.Context(), "j1"); err != nil || job.Total != 2 {
		t.Errorf("job %+v, %v", job, err)
	}
}

func TestSubmitFaultsStoreNothing(t *testing.T) {
	r := newRig(t, nil)
	long := strings.Repeat("x", 4100)
	list := func(text string) Names {
		reader, err := targets.NewReader(strings.NewReader(text), targets.Text, targets.Options{Kind: targets.Users})
		if err != nil {
			t.Fatal(err)
		}
		return reader
	}
	var bad strings.Builder
	for i := range 25 {
		fmt.Fprintf(&bad, "u%d\nno good %d\n", i, i)
	}
	tests := []struct {
		name, document string
		names          Names
		want           string
	}{
		{"no targets", `{` + hello + `}`, nil, "target: is required"},
		{"targets twice", `{"target":["u1"],` + hello + `}`, list("u2"), "target: is given in the document and as a list"},
		{"empty array", `{"target":[],` + hello + `}`, nil, "target: must name at least one target"},
		{"empty list", `{` + hello + `}`, list("\n\n"), "target: must name at least one target"},
		{"a number", `{"target":["u1","u2","u3",4],` + hello + `}`, nil, "target[3]: must be a string"},
		{"a space", `{"target":["u1","u 2"],` + hello + `}`, nil, `target[1]: "u 2" has a space`},
		{"invalid lines", `{` + hello + `}`, list(bad.String()), "line 2: "},
		{"message too large", `{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"` + long + `"}}`, nil, "msg: takes "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.trySubmit(tt.document, tt.names)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.name == "invalid lines" && (!strings.Contains(err.Error(), "line 40: ") || strings.Contains(err.Error(), "line 42: ") || !strings.HasSuffix(err.Error(), "and 5 more")) {
				t.Errorf("not the first 20 of 25 lines:\n%v", err)
			}
			if n, err := r.redis.Client().DBSize(t.Context()).Result(); err != nil || n != 0 {
				t.Errorf("%d keys are stored (%v)", n, err)
			}
		})
	}
}

func TestLimitsInForce(t *testing.T) {
	r := newRig(t, nil)
	limits, err := LimitsInForce(t.Context(), r.book)
	if err != nil || limits.MaxTargets[apiclient.ChatGroups] != 600 || limits.MaxBody != 5120 {
		t.Errorf("before a worker has started: %+v, %v", limits, err)
	}
	published := DefaultLimits(apiclient.FormSplit)
	published.MaxBody = 2048
	if err := published.Publish(t.Context(), r.book); err != nil {
		t.Fatal(err)
	}
	if limits, err = LimitsInForce(t.Context(), r.book); err != nil || limits.MaxTargets[apiclient.ChatGroups] != 3 || limits.MaxBody != 2048 {
		t.Errorf("in force: %+v, %v", limits, err)
	}
}
