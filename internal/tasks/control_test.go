package tasks

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"crier/internal/chatsim"
	"crier/internal/ledger"
)

func (r *rig) control() *Control {
	return &Control{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace)}
}

// A resumed job goes on by the tokens that come with it, though no sweeper helps
// and those it had are gone.
func TestResumePutsTokens(t *testing.T) {
	r := newRig(t, nil)
	if mine, err := r.book.TryLock(t.Context(), "sweeper", time.Hour); err != nil || !mine {
		t.Fatal(mine, err)
	}
	r.submitWithoutTokens("j1")
	c := r.control()
	for _, want := range []ledger.Change{{Was: ledger.StateRunning, Is: ledger.StatePaused}, {Was: ledger.StatePaused, Is: ledger.StatePaused}} {
		if got, err := c.Pause(t.Context(), "j1"); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range []ledger.Change{{Was: ledger.StatePaused, Is: ledger.StateRunning}, {Was: ledger.StateRunning, Is: ledger.StateRunning}} {
		if got, err := c.Resume(t.Context(), "j1"); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	load, err := c.Queue.load(t.Context(), c.Queue.name(false))
	if err != nil || load.tasks[asynq.TaskStatePending] != maxTokens { // once
		t.Fatalf("tokens: %+v, %v", load, err)
	}
	r.start()
	r.finished("j1")
	var refused *ledger.StateError
	for _, order := range []func() (ledger.Change, error){
		func() (ledger.Change, error) { return c.Pause(t.Context(), "j1") },
		func() (ledger.Change, error) { return c.Resume(t.Context(), "j1") },
		func() (ledger.Change, error) { return c.Cancel(t.Context(), "j1") },
	} {
		if _, err := order(); !errors.As(err, &refused) || refused.State != ledger.StateFinished {
			t.Errorf("error %v", err)
		}
	}
	if _, err := c.Cancel(t.Context(), "nobody"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// A job can be resumed while calls of before its pause are still on their way.
func TestResumeBesideSlowCalls(t *testing.T) {
	r := newRig(t, func(c *chatsim.Config) { c.Latency = 3 * time.Second })
	r.cfg.Concurrency, r.cfg.Limits.MaxTargets["users"] = 8, 10
	r.start()
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(160))
	c := r.control()
	r.await("j1", func(Status) bool { return r.sim.Stats().InFlight == 8 })
	for _, order := range []func() (ledger.Change, error){
		func() (ledger.Change, error) { return c.Pause(t.Context(), "j1") },
		func() (ledger.Change, error) { return c.Resume(t.Context(), "j1") },
	} {
		if _, err := order(); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.finished("j1"); s.Sent != 160 || s.Resent != 0 || s.State != ledger.StateFinished {
		t.Errorf("%+v", s)
	}
	if again := r.checkTruth("j1"); again != 0 {
		t.Errorf("%d were sent to again", again)
	}
}

// What an owner that died has of a cancelled job is ended by a sweeper, and what
// it had in flight is unknown. The worker that does it counts it.
func TestCancelledWhileHeldByTheDead(t *testing.T) {
	r := newRig(t, nil)
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(300))
	job, err := r.book.Job(t.Context(), "j1")
	if err != nil {
		t.Fatal(err)
	}
	dead := r.ledger()
	segment, _, err := dead.Claim(t.Context(), job, dead.Token())
	if err != nil || segment == nil {
		t.Fatal(segment, err)
	}
	if _, err := segment.Commit(t.Context(), ledger.Tally{}, ledger.Update{Index: []int32{3, 4, 5}, Code: ledger.InFlight}); err != nil {
		t.Fatal(err)
	}
	c := r.control()
	if _, err := c.Cancel(t.Context(), "j1"); err != nil {
		t.Fatal(err)
	}
	unsettled, err := c.Settle(t.Context(), []string{"j1", "nobody"}, 0)
	if err != nil || !slices.Equal(unsettled, []string{"j1"}) {
		t.Errorf("unsettled: %v, %v", unsettled, err)
	}
	w, _, _ := r.start()
	s := r.finished("j1")
	if s.State != ledger.StateCancelled || s.Cancelled != 297 || s.Unknown != 3 || s.Reasons["answer_lost"] != 3 || s.FinishedAt == nil {
		t.Errorf("%+v", s)
	}
	r.await("j1", func(Status) bool {
		return testutil.ToFloat64(w.metrics.targets.WithLabelValues("users", "cancelled")) == 297 &&
			testutil.ToFloat64(w.metrics.targets.WithLabelValues("users", "unknown")) == 3
	})
	if n := r.sim.Stats().Calls; n != 0 {
		t.Errorf("%d calls", n)
	}
	if unsettled, err := c.Settle(t.Context(), []string{"j1"}, time.Hour); len(unsettled) != 0 || err != nil {
		t.Errorf("unsettled: %v, %v", unsettled, err)
	}
}

// Who is at work on what, and when that is over.
func TestPresences(t *testing.T) {
	p := presences{jobs: map[string]*presence{}}
	first, second := p.enter("a", 2), p.enter("a", 2)
	if first == nil || second == nil || p.enter("a", 2) != nil || p.mayJoin("a", 9) || !p.mayJoin("b", 2) || p.mayJoin("b", 1) {
		t.Error("a job has another number of places than it should")
	}
	if p.dismiss("b") || !p.dismiss("a") || p.dismiss("a") {
		t.Error("dismissed are those who are there, once")
	}
	if first.over.Err() == nil || second.over.Err() == nil || len(p.list()) != 0 {
		t.Error("they are to go on")
	}
	third := p.enter("a", 1)
	if third == nil || third.over.Err() != nil {
		t.Fatal("who is about to leave is in the way")
	}
	p.leave(first)
	p.leave(second)
	if third.over.Err() != nil || !slices.Equal(p.list(), []string{"a"}) {
		t.Error("who leaves takes others along")
	}
	if p.leave(third); third.over.Err() == nil || len(p.list()) != 0 {
		t.Error("nobody is there, but")
	}
}
