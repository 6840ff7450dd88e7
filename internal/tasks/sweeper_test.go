package tasks

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"crier/internal/ledger"
)

// begin is a job that is loading and has a few targets.
func (r *rig) begin(book *ledger.Ledger, id string, lines string, count int) {
	r.t.Helper()
	document, err := ParseDocument([]byte(`{"id":"` + id + `",` + hello + `}`))
	if err != nil {
		r.t.Fatal(err)
	}
	spec, err := document.spec()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := book.Begin(r.t.Context(), spec); err != nil {
		r.t.Fatal(err)
	}
	r.draft(id, func(d *ledger.Draft) {
		if err := d.Add(r.t.Context(), []byte(lines), count); err != nil {
			r.t.Error(err)
		}
		if _, err := d.Commit(r.t.Context()); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) draft(id string, do func(d *ledger.Draft)) {
	r.t.Helper()
	d, err := r.book.Draft(r.t.Context(), id, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	do(d)
	if err := d.Close(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

// A job to which nothing is added any more is ended in its time; one that waits
// for more is left alone, until it is started or cancelled.
func TestIdleJobIsEnded(t *testing.T) {
	r := newRig(t, nil)
	config := ledger.DefaultConfig()
	config.LoadingTimeout = 1500 * time.Millisecond
	hasty, err := ledger.New(r.redis.Client(), config)
	if err != nil {
		t.Fatal(err)
	}
	r.begin(hasty, "left", "u1\nu2\n", 2)
	r.begin(r.book, "kept", "u3\nu4\nu5\n", 3)
	r.begin(r.book, "cancelled", "u6\n", 1)
	w, _, _ := r.start()
	if _, err := r.control().Cancel(t.Context(), "cancelled"); err != nil {
		t.Error(err)
	}
	if s := r.finished("cancelled"); s.State != ledger.StateCancelled || s.Reasons["cancelled"] != 1 {
		t.Errorf("cancelled: %+v", s)
	}
	s := r.finished("left")
	if s.State != ledger.StateCancelled || s.Cancelled != 2 || s.Reasons["expired"] != 2 {
		t.Errorf("left: %+v", s)
	}
	if waited := s.FinishedAt.Sub(*s.CreatedAt); waited < config.LoadingTimeout {
		t.Errorf("it was ended after %v", waited)
	}
	r.await("left", func(Status) bool {
		return testutil.ToFloat64(w.metrics.targets.WithLabelValues("users", "cancelled")) == 3 // of both jobs
	})
	if s := r.await("kept", func(Status) bool { return true }); s.State != ledger.StateLoading || s.Pending != 3 {
		t.Errorf("kept: %+v", s)
	}
	r.draft("kept", func(d *ledger.Draft) {
		if state, err := d.Start(t.Context()); state != ledger.StateRunning || err != nil {
			t.Errorf("started: %q, %v", state, err)
		}
	})
	if s := r.finished("kept"); s.State != ledger.StateFinished || s.Sent != 3 { // by tokens that the sweeper puts
		t.Errorf("started: %+v", s)
	}
	if n := r.sim.Stats().Calls; n != 1 {
		t.Errorf("%d calls", n)
	}
}
