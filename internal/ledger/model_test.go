package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// model is what a job has to look like: one row and one code for each target,
// and the counts that follow from nothing else.
type model struct {
	codes   []Code
	rows    []Row
	resent  int64
	settled int64
	calls   int64
	state   State // as it was asked for
}

// plan is one commit of a batch: what to do with which of its targets.
type plan struct {
	tally   Tally
	updates []Update // indexes within the segment
}

// batch is some targets of a segment that are dealt with together.
type batch struct {
	base  int32 // of the segment in the job
	index []int32
}

func newModel(total int) *model {
	m := &model{codes: make([]Code, total), state: StateRunning}
	for i := range total {
		m.rows = append(m.rows, Row{Target: fmt.Sprintf("u%d", i), Outcome: OutcomePending})
	}
	return m
}

// draw plans a commit that the codes allow, and makes the model follow it.
func (m *model) draw(t *rapid.T, b batch) plan {
	p := plan{tally: Tally{Calls: rapid.IntRange(0, 2).Draw(t, "calls")}}
	m.calls += int64(p.tally.Calls)
	updates := map[Code]*Update{}
	for _, i := range b.index {
		old := m.codes[b.base+i]
		next := rapid.SampledFrom([]Code{
			Fresh, InFlight, InFlight, Refused, Lost, Lost, Doubtful, Sent, AnswerLost, Rejected, GaveUp, Cancelled, Expired,
		}).Draw(t, "code")
		if next == Fresh || old.final() && (old != AnswerLost || next != Sent) { // Fresh: no change
			continue
		}
		u := updates[next]
		if u == nil {
			u = &Update{Code: next, Attempts: rapid.IntRange(1, 9).Draw(t, "attempts")}
			u.Detail = rapid.SampledFrom([]string{"", "no", "two\nlines \"quoted\" [1]"}).Draw(t, "detail")
			updates[next] = u
		}
		u.Index = append(u.Index, i)
	}
	for _, code := range slices.Sorted(maps.Keys(updates)) {
		u := updates[code]
		if code == Sent && rapid.Bool().Draw(t, "ids") {
			for _, i := range u.Index {
				u.IDs = append(u.IDs, fmt.Sprintf("id-%d", i))
			}
		}
		m.apply(b.base, *u)
		p.updates = append(p.updates, *u)
	}
	return p
}

func (m *model) apply(base int32, u Update) {
	for n, i := range u.Index {
		row, old := &m.rows[base+i], m.codes[base+i]
		if old == Lost && u.Code == InFlight {
			m.resent++
		}
		m.codes[base+i] = u.Code
		row.Outcome, row.Reason = u.Code.Outcome(), u.Code.Reason()
		if !u.Code.final() && u.Detail == "" {
			continue
		}
		row.Detail, row.Attempts = u.Detail, u.Attempts
		if u.IDs != nil {
			row.MessageID = u.IDs[n]
		}
	}
}

// job is what the model says of the counts.
func (m *model) job() Job {
	job := Job{State: m.state, Total: int64(len(m.codes)), Resent: m.resent, Calls: m.calls, Settled: m.settled, Reasons: map[string]int64{}}
	count := map[Outcome]int64{}
	for _, c := range m.codes {
		count[c.Outcome()]++
		if c.Reason() != "" {
			job.Reasons[c.Reason()]++
		}
	}
	job.Pending, job.Sent, job.Failed = count[OutcomePending], count[OutcomeSent], count[OutcomeFailed]
	job.Unknown, job.Cancelled = count[OutcomeUnknown], count[OutcomeCancelled]
	if job.Pending == 0 && m.state != StateCancelled {
		job.State = StateFinished
	}
	return job
}

// settle is what Settle does to a cancelled job that nobody holds.
func (m *model) settle() {
	for i, old := range m.codes {
		row := &m.rows[i]
		switch {
		case old.final():
			continue
		case old == InFlight:
			m.codes[i], row.Detail = AnswerLost, "the worker ended before it had recorded the answer"
			row.Attempts++
			m.settled++
		case old == Lost || old == Doubtful:
			m.codes[i], row.Detail = AnswerLost, "the job was cancelled before it could be sent again"
			m.settled++
		default:
			m.codes[i], row.Detail = Cancelled, "the job was cancelled"
		}
		row.Outcome, row.Reason = m.codes[i].Outcome(), m.codes[i].Reason()
	}
}

// Whatever becomes of the targets, in whatever order, from however many batches,
// whoever dies in between and whichever reply is lost, and whenever the job is
// paused, resumed or cancelled: the ledger says the same as the model, and at no
// moment do its counts disagree with its outcomes.
func TestCountsFollowOutcomes(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		var calls atomic.Int64
		watch(client).during(func(_ context.Context, call scriptCall, run func() error) error {
			err := run()
			if call.name == "checkpoint.lua" && err == nil && calls.Add(1)%97 == 0 {
				return errCut
			}
			return err
		})
		checkModel(t, newLedger(t, client))
	})
}

func checkModel(t *testing.T, l *Ledger) {
	jobs := 0
	rapid.Check(t, func(rt *rapid.T) {
		jobs++
		id := fmt.Sprintf("job%d", jobs)
		counts := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 3).Draw(rt, "segments")
		job := sealed(t, l, Spec{ID: id}, counts...)
		m := newModel(int(job.Total))
		for range rapid.IntRange(1, 5).Draw(rt, "rounds") {
			if m.job().State.Ended() {
				break
			}
			round(t, rt, l, job, m, len(counts))
			if m.state == StateCancelled {
				must[Settled](t)(l.Settle(t.Context(), id))
				m.settle()
			}
			compare(rt, l, id, m)
			if rt.Failed() {
				return
			}
		}
	})
}

// round claims what is left of a job, commits to all of it at once, and gives it up.
func round(t *testing.T, rt *rapid.T, l *Ledger, job Job, m *model, segments int) {
	var held []*Segment
	var all sync.WaitGroup
	errs := make(chan error, 100)
	order(t, rt, l, job.ID, m)
	for range segments {
		s, _, err := l.Claim(t.Context(), job, l.Token())
		if err != nil {
			rt.Fatal(err)
		}
		if s != nil != (m.state == StateRunning) && len(held) == 0 {
			rt.Errorf("claimed of a job that is %s: %v", m.state, s)
		}
		if s == nil {
			break
		}
		held = append(held, s)
		for i, c := range pending(s) {
			if want := m.codes[s.base+int(i)]; c != want {
				rt.Errorf("target %d is claimed as %q, want %q", s.base+int(i), c, want)
			}
		}
		// The targets of a segment are dealt with in several batches.
		batches := make([]batch, rapid.IntRange(1, 3).Draw(rt, "batches"))
		for i := range int32(s.Count) {
			b := &batches[int(i)%len(batches)]
			b.base, b.index = int32(s.base), append(b.index, i)
		}
		var plans []plan
		for range rapid.IntRange(1, 3).Draw(rt, "commits") {
			for _, b := range batches {
				plans = append(plans, m.draw(rt, b))
			}
		}
		all.Go(func() {
			for _, p := range plans {
				_, err := s.Commit(t.Context(), p.tally, p.updates...)
				if err == nil {
					err = checkCounts(t.Context(), l, job.ID)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	if len(held) > 0 { // at any moment between the commits
		order(t, rt, l, job.ID, m)
		all.Go(func() {
			for range 3 { // of what nobody holds; nothing, unless it is cancelled
				if _, err := l.Settle(t.Context(), job.ID); err != nil {
					errs <- err
				}
			}
		})
	}
	all.Wait()
	for _, s := range held {
		var err error
		if rapid.Bool().Draw(rt, "dies") {
			_, err = l.Free(t.Context(), job.ID, s.Name, s.claim)
		} else {
			err = s.Release(t.Context(), 0)
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
	close(errs)
	for err := range errs {
		rt.Error(err)
	}
}

// order pauses, resumes or cancels a job, or leaves it alone.
func order(t *testing.T, rt *rapid.T, l *Ledger, id string, m *model) {
	if m.job().State.Ended() {
		return
	}
	orders := map[State]func(context.Context, string) (Change, error){
		StatePaused: l.Pause, StateRunning: l.Resume, StateCancelled: l.Cancel, "": nil,
	}
	wanted := rapid.SampledFrom([]State{"", "", StatePaused, StateRunning, StateRunning, StateRunning, StateCancelled}).Draw(rt, "order")
	give := orders[wanted]
	if give == nil {
		return
	}
	change, err := give(t.Context(), id)
	var ended *StateError
	if errors.As(err, &ended) && ended.State == StateFinished {
		return // by the commits that are under way
	}
	if err != nil || change.Is != wanted {
		rt.Errorf("%s: %+v, %v", wanted, change, err)
	}
	m.state = wanted
}

func compare(t *rapid.T, l *Ledger, id string, m *model) {
	got, err := l.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := m.job()
	want.Spec, want.Created, want.Started, want.Finished = got.Spec, got.Created, got.Started, got.Finished
	if got.Finished.IsZero() == (want.Pending == 0) {
		t.Errorf("%s, finished at %v", want.State, got.Finished)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job: %s", diff)
	}
	n := 0
	for row, err := range l.Rows(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		row.At = time.Time{}
		if diff := cmp.Diff(m.rows[n], row); diff != "" {
			t.Errorf("row %d: %s", n, diff)
		}
		n++
	}
	if n != len(m.rows) {
		t.Errorf("%d rows, want %d", n, len(m.rows))
	}
}
