package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

// Every order in every state: what it does, and what it refuses.
func TestOrders(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		now := serverTime(t, client)
		past, future := now.Add(-time.Hour), now.Add(time.Hour)
		for i, tt := range []struct {
			order  string
			state  State
			sendAt time.Time
			want   State // "" = refused
		}{
			{"pause", StateRunning, time.Time{}, StatePaused},
			{"pause", StateScheduled, future, StatePaused},
			{"pause", StatePaused, time.Time{}, StatePaused},
			{"pause", StateFinished, time.Time{}, ""},
			{"pause", StateCancelled, time.Time{}, ""},
			{"pause", StateLoading, time.Time{}, ""},
			{"resume", StateRunning, time.Time{}, StateRunning},
			{"resume", StateScheduled, future, StateScheduled},
			{"resume", StatePaused, time.Time{}, StateRunning},
			{"resume", StatePaused, past, StateRunning},
			{"resume", StatePaused, future, StateScheduled},
			{"resume", StateFinished, time.Time{}, ""},
			{"resume", StateCancelled, time.Time{}, ""},
			{"cancel", StateRunning, time.Time{}, StateCancelled},
			{"cancel", StateScheduled, future, StateCancelled},
			{"cancel", StatePaused, future, StateCancelled},
			{"cancel", StateCancelled, time.Time{}, StateCancelled},
			{"cancel", StateFinished, time.Time{}, ""},
			{"cancel", StateLoading, time.Time{}, StateCancelled},
		} {
			name, id := fmt.Sprintf("%s of %s, send_at %v", tt.order, tt.state, tt.sendAt), fmt.Sprintf("j%d", i)
			sealed(t, l, Spec{ID: id, SendAt: tt.sendAt}, 1)
			client.HSet(t.Context(), l.keys(id).job, "state", string(tt.state))
			before := dump(t, client)
			give := map[string]func(context.Context, string) (Change, error){"pause": l.Pause, "resume": l.Resume, "cancel": l.Cancel}[tt.order]
			change, err := give(t.Context(), id)
			var refused *StateError
			if errors.As(err, &refused) != (tt.want == "") || err != nil && (refused.State != tt.state || refused.ID != id || refused.Asked != tt.order) {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil && (change != Change{tt.state, tt.want} || read(t, l, id).State != tt.want) {
				t.Errorf("%s: %+v, is %s", name, change, read(t, l, id).State)
			}
			if diff := cmp.Diff(before, dump(t, client)); (tt.want == "" || tt.want == tt.state) && diff != "" {
				t.Errorf("%s changes %s", name, diff)
			}
			if _, err := give(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: no such job: %v", name, err)
			}
		}
	})
}

// A paused job hands nothing out and goes on where it was.
func TestPauseAndResume(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 2, 2)
		held := claimed(t, l, job)
		must[Change](t)(l.Pause(t.Context(), "j"))
		if s, state, err := l.Claim(t.Context(), job, l.Token()); s != nil || state != StatePaused || err != nil {
			t.Errorf("claimed %v, %q, %v", s, state, err)
		}
		// Its owner records what was on its way, and learns of it.
		if state := commit(t, held, to(Sent, 0)); state != StatePaused || held.JobState() != StatePaused {
			t.Errorf("state %q, %q", state, held.JobState())
		}
		release(t, held)
		if done := must[Settled](t)(l.Settle(t.Context(), "j")); done != (Settled{State: StatePaused}) {
			t.Errorf("settled: %+v", done)
		}
		if started := must[bool](t)(l.Start(t.Context(), "j")); started {
			t.Error("a paused job was started")
		}
		must[Change](t)(l.Resume(t.Context(), "j"))
		left := 0
		for range 2 {
			left += claimed(t, l, job).PendingCount()
		}
		if left != 3 {
			t.Errorf("%d targets are left, want 3", left)
		}
		counts(t, l, "j")
		if job := read(t, l, "j"); job.Sent != 1 || job.Pending != 3 || job.State != StateRunning {
			t.Errorf("%+v", job)
		}
	})
}

// However many cancel at once, beside owners that record, each target ends once
// and the job by one of them.
func TestCancelRaces(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		sizes := make([]int, 60)
		for i := range sizes {
			sizes[i] = 1 + i%3
		}
		l, dead := newLedger(t, client), newLedger(t, client)
		job := sealed(t, l, Spec{}, sizes...)
		abandoned := claimed(t, dead, job)
		commit(t, abandoned, to(InFlight, 0))
		var all sync.WaitGroup
		ended := make(chan string, 100)
		for range 3 {
			all.Go(func() {
				for { // an owner: it goes on until it learns that the job does not run
					s, _, err := l.Claim(t.Context(), job, l.Token())
					if err != nil {
						t.Error(err)
					}
					if s == nil {
						return
					}
					if _, err := s.Commit(t.Context(), Tally{Calls: 1}, to(Sent, 0)); err != nil {
						t.Error(err)
					}
					if err := errors.Join(checkCounts(t.Context(), l, "j"), s.Release(t.Context(), 0)); err != nil {
						t.Error(err)
					}
					if done, err := l.Settle(t.Context(), "j"); err != nil || done.Ended {
						ended <- fmt.Sprint("an owner ", err)
					}
				}
			})
		}
		eventually(t, "some are sent", func() bool { return read(t, l, "j").Sent > 5 })
		for range 3 {
			all.Go(func() {
				change, err := l.Cancel(t.Context(), "j")
				if err != nil || change.Is != StateCancelled {
					t.Error(change, err)
				}
				if done, err := l.Settle(t.Context(), "j"); err != nil || done.Ended {
					ended <- fmt.Sprint("a canceller ", err)
				}
			})
		}
		all.Wait()
		if len(ended) > 0 {
			t.Errorf("it has ended by %s while a segment is held", <-ended)
		}
		if job := read(t, l, "j"); job.Pending != 1 || job.Cancelled == 0 || !job.Finished.IsZero() {
			t.Errorf("%+v", job)
		}
		for range 2 { // as every sweeper does
			all.Go(func() {
				if _, err := l.Free(t.Context(), "j", abandoned.Name, abandoned.claim); err != nil {
					t.Error(err)
				}
				if done, err := l.Settle(t.Context(), "j"); err != nil || done.Ended {
					ended <- fmt.Sprint("a sweeper ", err)
				}
			})
		}
		all.Wait()
		if len(ended) != 1 {
			t.Errorf("it has ended %d times", len(ended))
		}
		counts(t, l, "j")
		end := read(t, l, "j")
		if end.State != StateCancelled || end.Unknown != 1 || end.Reasons["answer_lost"] != 1 || end.Finished.IsZero() {
			t.Errorf("%+v", end)
		}
		// The owner was not dead after all.
		if n := must[int](t)(abandoned.Late(t.Context(), []int32{0}, 1)); n != 1 {
			t.Errorf("%d were sent", n)
		}
		counts(t, l, "j")
	})
}

// A Redis whose memory is full takes no jobs, but orders.
func TestOrdersToAFullRedis(t *testing.T) {
	client := redistest.StartReal(t).Client()
	l := newLedger(t, client)
	sealed(t, l, Spec{ID: "a"}, 3, 300)
	sealed(t, l, Spec{ID: "b"}, 1)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "x", "y", 0).Err(); !redis.IsOOMError(err) {
		t.Fatalf("it is not full: %v", err)
	}
	must[Change](t)(l.Pause(t.Context(), "b"))
	must[Change](t)(l.Resume(t.Context(), "b"))
	must[Change](t)(l.Cancel(t.Context(), "a"))
	if done := must[Settled](t)(l.Settle(t.Context(), "a")); !done.Ended || done.Cancelled != 303 {
		t.Errorf("%+v", done)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	counts(t, l, "a")
}

// What does not count as waiting for the next attempt, though it lies between
// two: hours of a pause. See LongestWait.
func TestPauseIsNoWaiting(t *testing.T) {
	var try Try
	at := time.UnixMilli(1_700_000_000_000)
	for n := range 3 {
		try.add(Entry{Code: Refused, Attempts: n + 1, At: at})
		at = at.Add(5 * time.Hour) // paused and resumed
	}
	if want := LongestWait(1) + LongestWait(2); try.Waited != want {
		t.Errorf("waited %v, want %v", try.Waited, want)
	}
}
