package tasks

import (
	"context"
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
	if done := r.submit(document, nil); done.ID != "j1" || !done.Created || done.List != (List{Total: 2, Duplicates: 1}) {
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
	list := r.list
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

// list is a list of users, one a line.
func (r *rig) list(text string) Names {
	r.t.Helper()
	reader, err := targets.NewReader(strings.NewReader(text), targets.Text, targets.Options{Kind: targets.Users})
	if err != nil {
		r.t.Fatal(err)
	}
	return reader
}

// Names of the list to exclude are left out, invalid ones only if that is
// asked for; what was left out is told, and the same for a plan.
func TestExcludeAndSkip(t *testing.T) {
	r := newRig(t, nil)
	var bad, badSkipped strings.Builder
	for i := range 25 {
		fmt.Fprintf(&bad, "no good %d\n", i)
		if i < 20 {
			fmt.Fprintf(&badSkipped, "line %d: \"no good %d\" has a space at byte 3\n", i+1, i)
		}
	}
	badSkipped.WriteString("and 5 more")
	for name, tt := range map[string]struct {
		document       string // "" = one without targets
		names, exclude string // "-": none
		skip           bool
		want           string // the targets
		list           List
		skipped        [2]string // what is said of the list, and of the list to exclude
		fault          string
	}{
		"excluded": {
			names: "u1\nu2\nu3\nU2\nu1\n", exclude: "U2\nu9\nu2\n",
			want: "u1 u3", list: List{Total: 2, Duplicates: 1, Excluded: 2},
		},
		"from the document": {
			document: `{"target":["u1","u2","u3"],` + hello + `}`, names: "-", exclude: "u1\nu3\n",
			want: "u2", list: List{Total: 1, Excluded: 2},
		},
		"nobody is excluded": {names: "u1\n", exclude: "\n\n", want: "u1", list: List{Total: 1}},
		"all are excluded": {
			names: "u1\nu2\nu1\n", exclude: "u2\nu1\n",
			fault: "target: must name at least one target: all names of the list are left out (3 excluded)",
		},
		"skipped": {
			names: bad.String() + "u1\nu1\n", exclude: "-", skip: true,
			want: "u1", list: List{Total: 1, Duplicates: 1}, skipped: [2]string{badSkipped.String(), ""},
		},
		"skipped of the document": {
			document: `{"target":["u1",7,"u 2"],` + hello + `}`, names: "-", exclude: "-", skip: true,
			want: "u1", list: List{Total: 1}, skipped: [2]string{"target[1]: must be a string\ntarget[2]: \"u 2\" has a space at byte 2", ""},
		},
		"skipped of both": {
			names: "u1\nu 2\nu3\n", exclude: "u 1\nu3\n", skip: true,
			want: "u1", list: List{Total: 1, Excluded: 1},
			skipped: [2]string{`line 2: "u 2" has a space at byte 2`, `exclude: line 1: "u 1" has a space at byte 2`},
		},
		"nothing to skip": {names: "u1\n", exclude: "u2\n", skip: true, want: "u1", list: List{Total: 1}},
		"all are skipped": {
			names: "u 1\nu 2\nu3\n", exclude: "u3\n", skip: true,
			fault: "target: must name at least one target: all names of the list are left out (1 excluded, 2 invalid)",
		},
		"invalid to exclude": {
			names: "u1\n", exclude: "u1\nu 2\nu3\nu 4\n",
			fault: "exclude: line 2: \"u 2\" has a space at byte 2\nexclude: line 4: \"u 4\" has a space at byte 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			document := tt.document
			if document == "" {
				document = `{` + hello + `}`
			}
			submission := func() Submission {
				d, err := ParseDocument([]byte(document))
				if err != nil {
					t.Fatal(err)
				}
				sub := Submission{Document: d, SkipInvalid: tt.skip}
				if tt.names != "-" {
					sub.Names = r.list(tt.names)
				}
				if tt.exclude != "-" {
					sub.Exclude = r.list(tt.exclude)
				}
				return sub
			}
			s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace), Gate: r.gate}
			plan, planned := s.Plan(t.Context(), submission())
			done, err := s.Submit(t.Context(), submission())
			if got := fmt.Sprint(err); err != nil && got != tt.fault || (err != nil) != (tt.fault != "") || fmt.Sprint(planned) != got {
				t.Fatalf("error %v, want %q; planned: %v", err, tt.fault, planned)
			}
			if err != nil {
				return
			}
			skipped := [2]string{said(done.Skipped), said(done.SkippedExclude)}
			if of := [2]string{said(plan.Skipped), said(plan.SkippedExclude)}; skipped != tt.skipped || of != skipped {
				t.Errorf("skipped: %q, planned: %q", skipped, of)
			}
			done.Skipped, done.SkippedExclude = nil, nil
			if planned := (List{Total: plan.Targets, Duplicates: plan.Duplicates, Excluded: plan.Excluded}); done.List != tt.list || planned != tt.list {
				t.Errorf("list: %+v, planned: %+v", done.List, planned)
			}
			var got []string
			for row, err := range r.book.Rows(t.Context(), done.ID) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, row.Target)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("targets: %q", got)
			}
		})
	}
}

// said is what a report of invalid names says, "" where there is none.
func said(e *NamesError) string {
	if e == nil {
		return ""
	}
	return e.Error()
}

// Whoever gives up is not kept waiting for the end of a long list.
func TestSubmitEndsWithItsContext(t *testing.T) {
	r := newRig(t, nil)
	d, err := ParseDocument([]byte(`{` + hello + `}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, sub := range map[string]func(Names) Submission{
		"targets": func(n Names) Submission { return Submission{Document: d, Names: n, SkipInvalid: true} },
		"exclude": func(n Names) Submission { return Submission{Document: d, Names: r.list("u1\n"), Exclude: n} },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace), Gate: r.gate}
		if _, err := s.Plan(ctx, sub(endless{cancel})); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endless is a list of the same name again and again, which stops the reader.
type endless struct{ stop func() }

func (e endless) Next() ([]byte, int, error) {
	e.stop()
	return []byte("u1"), 1, nil
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
