package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// draftModel is what a job has to look like to which several holders add, one
// after the other.
type draftModel struct {
	t  *testing.T
	rt *rapid.T
	l  *Ledger
	id string

	state   State    // "" = there is no job
	targets []string // committed
	next    int      // number of the next target
	holder  *writer  // who has the right, nil = nobody
	writers []*writer
}

// writer is a draft and what was added in it.
type writer struct {
	draft   *Draft
	base    int      // targets when the list of what was added began
	added   []string // behind these
	started bool
}

// TestDraftsFollowTheModel begins, adds to, starts, cancels and deletes a job in
// any order, with holders that lose their right and replies that are lost: after
// each step the job is what the model says, and nothing else is seen.
func TestDraftsFollowTheModel(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		var calls atomic.Int64
		repeated := map[string]bool{
			"begin.lua": true, "take.lua": true, "stage.lua": true, "join.lua": true, "launch.lua": true, "leave.lua": true,
		}
		watch(client).during(func(_ context.Context, call scriptCall, run func() error) error {
			err := run()
			if err == nil && repeated[call.name] && calls.Add(1)%5 == 0 {
				err = run()
			}
			return err
		})
		l, jobs := newLedger(t, client), 0
		rapid.Check(t, func(rt *rapid.T) {
			jobs++
			m := &draftModel{t: t, rt: rt, l: l, id: fmt.Sprintf("job%d", jobs)}
			defer m.close()
			rt.Repeat(map[string]func(*rapid.T){
				"":       m.compare,
				"begin":  m.begin,
				"draft":  m.draft,
				"lapse":  m.lapse,
				"add":    m.add,
				"commit": m.commit,
				"again":  m.commit,
				"start":  m.start,
				"leave":  m.leave,
				"cancel": m.cancel,
				"delete": m.delete,
			})
		})
	})
}

func (m *draftModel) begin(rt *rapid.T) {
	created, err := m.l.Begin(m.t.Context(), Spec{ID: m.id, Document: []byte("doc")})
	if created != (m.state == "") || err != nil {
		rt.Fatalf("begin: %v, %v, the job is %q", created, err, m.state)
	}
	if created {
		m.state, m.targets = StateLoading, nil
	}
}

func (m *draftModel) draft(rt *rapid.T) {
	d, err := m.l.Draft(m.t.Context(), m.id, 0)
	want := m.barred(nil)
	if want == nil && m.holder != nil {
		want = ErrBusy
	}
	m.check(rt, "draft", err, want)
	if err != nil {
		return
	}
	m.holder = &writer{draft: d, base: len(m.targets)}
	m.writers = append(m.writers, m.holder)
	var list strings.Builder
	for lines, err := range d.Stored(m.t.Context()) {
		if err != nil {
			rt.Fatal(err)
		}
		list.Write(lines)
	}
	if got, want := list.String(), joined(m.targets); got != want || d.Job().Total != int64(len(m.targets)) {
		rt.Fatalf("%d targets: %q, want %q", d.Job().Total, got, want)
	}
}

// barred is why a writer cannot add, nil if it can; nil stands for a new one.
func (m *draftModel) barred(w *writer) error {
	switch {
	case m.state == "":
		return ErrNotFound
	case m.state != StateLoading:
		return &StateError{ID: m.id, State: m.state, Asked: "load"}
	case w != m.holder && w != nil:
		return ErrFenced
	default:
		return nil
	}
}

func (m *draftModel) check(rt *rapid.T, what string, got, want error) {
	var refused, as *StateError
	if errors.As(want, &as) {
		if !errors.As(got, &refused) || refused.State != as.State || refused.ID != as.ID {
			rt.Fatalf("%s: %v, want %v", what, got, want)
		}
	} else if !errors.Is(got, want) {
		rt.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func (m *draftModel) lapse(*rapid.T) {
	lapse(m.t, m.l, m.id)
	m.holder = nil
}

// some is one of the writers, old ones among them.
func (m *draftModel) some(rt *rapid.T) *writer {
	if len(m.writers) == 0 {
		rt.Skip("nobody adds")
	}
	if m.holder != nil && rapid.IntRange(0, 3).Draw(rt, "who") > 0 {
		return m.holder
	}
	return rapid.SampledFrom(m.writers).Draw(rt, "writer")
}

func (m *draftModel) add(rt *rapid.T) {
	w := m.some(rt)
	var lines []byte
	count := 0
	if len(w.added) == 0 {
		last, n, err := w.draft.Last(m.t.Context())
		if w == m.holder || err != nil && !errors.Is(err, ErrFenced) {
			want := m.barred(w)
			if w.base == 0 {
				want = nil
			}
			m.check(rt, "last", err, want)
		}
		if err != nil {
			return
		}
		lines, count = bytes.Clone(last), n
	}
	var added []string
	for range rapid.IntRange(1, 5).Draw(rt, "targets") {
		added = append(added, fmt.Sprintf("t%d", m.next))
		m.next++
	}
	staged := len(w.draft.list.names) > 0
	err := w.draft.Add(m.t.Context(), append(lines, joined(added)...), count+len(added))
	if staged {
		m.check(rt, "add", err, m.barred(w))
	} else if err != nil {
		rt.Fatal(err)
	}
	if err == nil {
		w.added = append(w.added, added...)
	}
}

func (m *draftModel) commit(rt *rapid.T) {
	w := m.some(rt)
	total, err := w.draft.Commit(m.t.Context())
	m.check(rt, "commit", err, m.barred(w))
	if err != nil {
		return
	}
	m.targets = append(m.targets, w.added...)
	w.base, w.added = len(m.targets), nil
	if total != int64(len(m.targets)) {
		rt.Fatalf("%d targets, want %d", total, len(m.targets))
	}
}

func (m *draftModel) start(rt *rapid.T) {
	w := m.some(rt)
	if len(w.added) > 0 || w.started {
		rt.Skip("not to be started")
	}
	state, err := w.draft.Start(m.t.Context())
	want := m.barred(w)
	if want == nil && len(m.targets) == 0 {
		want = ErrEmpty
	}
	m.check(rt, "start", err, want)
	if err == nil {
		m.state, w.started = StateRunning, true
		if state != StateRunning {
			rt.Fatalf("state %q", state)
		}
		load := m.l.NewLoad(Spec{ID: m.id, Document: []byte("doc")})
		if err := load.Add(m.t.Context(), []byte(joined(m.targets)), len(m.targets)); err != nil {
			rt.Fatal(err)
		}
		if created, err := load.Seal(m.t.Context()); created || err != nil {
			rt.Fatalf("the same at once: %v, %v", created, err)
		}
	}
}

func (m *draftModel) leave(rt *rapid.T) {
	w := m.some(rt)
	if err := w.draft.Close(m.t.Context()); err != nil {
		rt.Fatal(err)
	}
	if m.holder == w {
		m.holder = nil
	}
}

func (m *draftModel) cancel(rt *rapid.T) {
	if _, err := m.l.Cancel(m.t.Context(), m.id); (err != nil) != (m.state == "") {
		rt.Fatalf("cancel of a job that is %q: %v", m.state, err)
	}
	if m.state == "" {
		return
	}
	m.state = StateCancelled
	if done, err := m.l.Settle(m.t.Context(), m.id); err != nil || !done.Over {
		rt.Fatalf("%+v, %v", done, err)
	}
}

func (m *draftModel) delete(rt *rapid.T) {
	err := m.l.Delete(m.t.Context(), m.id)
	switch {
	case m.state == "":
		m.check(rt, "delete", err, ErrNotFound)
	case m.state == StateRunning:
		m.check(rt, "delete", err, ErrActive)
	case err != nil:
		rt.Fatal(err)
	default:
		m.state, m.targets, m.holder = "", nil, nil
	}
}

func joined(targets []string) string {
	if len(targets) == 0 {
		return ""
	}
	return strings.Join(targets, "\n") + "\n"
}

// compare holds the record against the model.
func (m *draftModel) compare(rt *rapid.T) {
	ctx, k := m.t.Context(), m.l.keys(m.id)
	if m.state == "" {
		if left := m.l.client.Keys(ctx, "test:{"+m.id+"}:*").Val(); len(left) > 0 {
			rt.Fatalf("of no job there is %q", left)
		}
		return
	}
	job, err := m.l.Job(ctx, m.id)
	if err != nil || job.State != m.state || job.Total != int64(len(m.targets)) {
		rt.Fatalf("%+v, %v, want %d targets, %s", job, err, len(m.targets), m.state)
	}
	if err := checkCounts(ctx, m.l, m.id); err != nil {
		rt.Fatal(err)
	}
	var list []string
	for row, err := range m.l.Rows(ctx, m.id) {
		if err != nil || (row.Outcome == OutcomePending) == (m.state == StateCancelled) {
			rt.Fatalf("%+v, %v, the job is %s", row, err, m.state)
		}
		list = append(list, row.Target)
	}
	if got, want := joined(list), joined(m.targets); got != want {
		rt.Fatalf("targets %q, want %q", got, want)
	}
	if segments := m.l.client.ZCard(ctx, k.free).Val(); m.state == StateRunning && segments != m.l.client.HLen(ctx, k.names).Val() {
		rt.Fatalf("%d segments, and %d fields", segments, m.l.client.HLen(ctx, k.names).Val())
	}
}

// close ends all drafts.
func (m *draftModel) close() {
	for _, w := range m.writers {
		if err := w.draft.Close(m.t.Context()); err != nil {
			m.t.Error(err)
		}
	}
}
