package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// drafts are those of one process.
func (r *rig) drafts() *Drafts {
	r.t.Helper()
	return NewDrafts(&Submitter{Ledger: r.ledger(), Queue: NewQueue(r.redis.Client(), r.cfg.Namespace), Gate: r.gate})
}

// beginDraft makes a loading job.
func (r *rig) beginDraft(d *Drafts, id string) {
	r.t.Helper()
	doc, err := ParseDocument([]byte(`{"id":"` + id + `",` + hello + `}`))
	if err != nil {
		r.t.Fatal(err)
	}
	if done, err := d.Begin(r.t.Context(), doc); done.ID != id || !done.Created || err != nil {
		r.t.Fatalf("%+v, %v", done, err)
	}
}

// extend adds a list, one name a line.
func (r *rig) extend(d *Drafts, id, text string, skip bool) (Extended, error) {
	r.t.Helper()
	return d.Extend(r.t.Context(), id, Extension{Names: func(string) (Names, error) { return r.list(text), nil }, SkipInvalid: skip})
}

// targetsOf lists a job's targets in order.
func (r *rig) targetsOf(id string) []string {
	r.t.Helper()
	names := []string{}
	for row, err := range r.book.Rows(r.t.Context(), id) {
		if err != nil {
			r.t.Fatal(err)
		}
		names = append(names, row.Target)
	}
	return names
}

// setLimit says how many users a call may name, as workers do.
func (r *rig) setLimit(users int) {
	r.t.Helper()
	limits := r.cfg.Limits
	limits.MaxTargets = map[apiclient.TargetType]int{apiclient.Users: users}
	if err := limits.Publish(r.t.Context(), r.book); err != nil {
		r.t.Fatal(err)
	}
}

// However a list comes, in whatever pieces, with repeats, through several
// processes and under changing limits: the job has each distinct name once, in
// the order in which they first came, and every answer counts right.
func TestDraftsEqualTheirLists(t *testing.T) {
	r := newRig(t, nil)
	processes := []*Drafts{r.drafts(), r.drafts()}
	job := 0
	rapid.Check(t, func(rt *rapid.T) {
		job++
		id := fmt.Sprintf("job-%d", job)
		r.beginDraft(processes[0], id)
		want := []string{}
		known := map[string]bool{}
		pieces := rapid.IntRange(1, 6).Draw(rt, "pieces")
		for piece := range pieces {
			if rapid.Bool().Draw(rt, "new limit") {
				r.setLimit(rapid.IntRange(1, 600).Draw(rt, "limit"))
			}
			d := processes[rapid.IntRange(0, 1).Draw(rt, "process")]
			// A run of names, which overlaps with earlier ones: long enough now and then for several segments.
			from := rapid.IntRange(0, 15_000).Draw(rt, "from")
			length := rapid.SampledFrom([]int{0, 1, 7, 300, 12_000, 22_000}).Draw(rt, "length")
			step := rapid.SampledFrom([]int{1, 3, 7919}).Draw(rt, "step")
			wrong := rapid.SampledFrom([]string{"", "", "skipped", "refused"}).Draw(rt, "wrong")
			var text strings.Builder
			var fresh []string
			added, duplicates := map[string]bool{}, 0
			for i := range length {
				name := fmt.Sprintf("u%d", (from+i*step)%30_000)
				fmt.Fprintf(&text, "%s\n", strings.ToUpper(name[:1])+name[1:])
				if known[name] || added[name] {
					duplicates++
				} else {
					added[name] = true
					fresh = append(fresh, name)
				}
			}
			if wrong != "" {
				text.WriteString("no good\n")
			}
			done, err := r.extend(d, id, text.String(), wrong == "skipped")
			if wrong == "refused" {
				if names := (*NamesError)(nil); !errors.As(err, &names) || names.Count != 1 {
					rt.Fatalf("piece %d: an invalid name is %v", piece, err)
				}
				continue
			}
			if err != nil {
				rt.Fatalf("piece %d: %v", piece, err)
			}
			for _, name := range fresh {
				known[name] = true
			}
			want = append(want, fresh...)
			if done.Added != len(fresh) || done.Duplicates != duplicates || done.Total != int64(len(want)) || (done.Skipped != nil) != (wrong == "skipped") {
				rt.Fatalf("piece %d: %+v; want %d added, %d repeated, %d in all", piece, done, len(fresh), duplicates, len(want))
			}
		}
		if err := processes[1].Start(t.Context(), id, int64(len(want))); len(want) == 0 != errors.Is(err, ledger.ErrEmpty) || len(want) > 0 && err != nil {
			rt.Fatalf("start with %d targets: %v", len(want), err)
		}
		if got := r.targetsOf(id); !slices.Equal(got, want) {
			rt.Fatalf("%d targets, want %d: %.300s", len(got), len(want), cmp.Diff(want, got))
		}
	})
}

// What a process remembers of a job counts for nothing once another one has added
// to it.
func TestKeptNamesAreOfTheirVersion(t *testing.T) {
	r := newRig(t, nil)
	one, other := r.drafts(), r.drafts()
	r.beginDraft(one, "j")
	for i, step := range []struct {
		by    *Drafts
		text  string
		added int
	}{
		{one, "u1\nu2\n", 2},
		{one, "u2\nu3\n", 1},
		{other, "u4\nu1\n", 1},
		{one, "u4\nu5\n", 1},
		{other, "u5\nu3\nu2\n", 0},
		{other, "u6\nu5\n", 1},
		{one, "u6\nu5\nu4\nu3\nu2\nu1\nu7\n", 1},
	} {
		if done, err := r.extend(step.by, "j", step.text, false); err != nil || done.Added != step.added {
			t.Errorf("step %d: %+v, %v", i, done, err)
		}
	}
	if diff := cmp.Diff([]string{"u1", "u2", "u3", "u4", "u5", "u6", "u7"}, r.targetsOf("j")); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// A job that was deleted and begun again is another one, also to who remembers the first.
func TestKeptNamesAreOfTheirJob(t *testing.T) {
	r := newRig(t, nil)
	d := r.drafts()
	control := &Control{Ledger: r.book, Queue: d.Queue}
	for range 2 {
		r.beginDraft(d, "j")
		if done, err := r.extend(d, "j", "u1\nu2\n", false); err != nil || done.Added != 2 {
			t.Errorf("%+v, %v", done, err)
		}
		if _, err := control.Cancel(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		if left, err := control.Settle(t.Context(), []string{"j"}, time.Second); len(left) > 0 || err != nil {
			t.Fatal(left, err)
		}
		if err := control.Delete(t.Context(), "j", 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A list that fails leaves the job as it was, and the next one finds it so.
func TestExtendIsAllOrNothing(t *testing.T) {
	r := newRig(t, nil)
	d := r.drafts()
	r.beginDraft(d, "j")
	if _, err := r.extend(d, "j", "u1\nu2\n", false); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 65)
	var many strings.Builder
	for i := range 25_000 { // several segments are staged before the fault is met
		fmt.Fprintf(&many, "new%d\n", i)
	}
	for _, text := range []string{"u3\nno good\nu4\n", many.String() + long + "\n", long} {
		var names *NamesError
		if _, err := r.extend(d, "j", text, false); !errors.As(err, &names) || names.Count != 1 {
			t.Errorf("%v", err)
		}
		if got := r.targetsOf("j"); !slices.Equal(got, []string{"u1", "u2"}) {
			t.Errorf("%d targets", len(got))
		}
	}
	full := errors.New("no more")
	_, err := d.Extend(t.Context(), "j", Extension{
		Names: func(string) (Names, error) { return r.list(many.String()), nil },
		Progress: func(n int) error {
			if n > 20_000 {
				return full
			}
			return nil
		},
	})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if done, err := r.extend(d, "j", "u3\nno good\nu2\n", true); err != nil || done.Added != 1 || done.Duplicates != 1 || done.Total != 3 || done.Skipped.Count != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if got := r.targetsOf("j"); !slices.Equal(got, []string{"u1", "u2", "u3"}) {
		t.Errorf("%q", got)
	}
}

// Only a loading job is added to; starting it again changes nothing.
func TestStartedJobsTakeNoMore(t *testing.T) {
	r := newRig(t, nil)
	d := r.drafts()
	if _, err := r.extend(d, "none", "u1\n", false); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no job: %v", err)
	}
	r.beginDraft(d, "j")
	if err := d.Start(t.Context(), "j", -1); !errors.Is(err, ledger.ErrEmpty) {
		t.Errorf("no targets: %v", err)
	}
	if _, err := r.extend(d, "j", "u1\n", false); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Start(t.Context(), "j", -1); err != nil {
			t.Error(err)
		}
	}
	var state *ledger.StateError
	if _, err := r.extend(d, "j", "u2\n", false); !errors.As(err, &state) || state.State != ledger.StateRunning {
		t.Errorf("%v", err)
	}
	r.beginDraft(d, "cancelled")
	if _, err := (&Control{Ledger: r.book, Queue: d.Queue}).Cancel(t.Context(), "cancelled"); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), "cancelled", -1); !errors.As(err, &state) {
		t.Errorf("%v", err)
	}
}
