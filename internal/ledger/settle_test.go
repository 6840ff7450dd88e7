package ledger

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// What becomes of each target of a job that is cancelled or expires, by what it
// has been through, and when.
func TestSettle(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		at := serverTime(t, client).Add(-time.Minute).Truncate(time.Millisecond)
		for _, tt := range []struct {
			id       string
			code     Code
			detail   string
			state    State
			prepare  func()
			schedule Spec
		}{
			{"cancelled", Cancelled, "the job was cancelled", StateCancelled, func() { must[Change](t)(l.Cancel(t.Context(), "cancelled")) }, Spec{}},
			{"expired", Expired, "expires_at passed", StateFinished, func() {
				client.HSet(t.Context(), l.keys("expired").job, "expires_at", at.UnixMilli())
			}, Spec{}},
			{"paused", Expired, "expires_at passed", StateFinished, func() {
				must[Change](t)(l.Pause(t.Context(), "paused"))
				client.HSet(t.Context(), l.keys("paused").job, "expires_at", at.UnixMilli())
			}, Spec{}},
		} {
			job := sealed(t, l, Spec{ID: tt.id, Document: []byte("doc")}, 2, 9, 3)
			claimed(t, l, job)
			s := claimed(t, l, job)
			commit(t, s, to(Refused, 1), to(Lost, 2), to(Doubtful, 3), to(Sent, 4), to(Rejected, 5), to(AnswerLost, 6), to(InFlight, 0))
			commit(t, s, Update{Index: []int32{1}, Code: Refused, Attempts: 4, Detail: "503"}, Update{Index: []int32{2}, Code: Lost, Attempts: 2, Detail: "reset"},
				Update{Index: []int32{7}, Code: Refused, Attempts: 3, Detail: "503"})
			commit(t, s, to(InFlight, 7))
			release(t, s)
			tt.prepare()
			before := serverTime(t, client).Truncate(time.Millisecond)
			done := must[Settled](t)(l.Settle(t.Context(), tt.id))
			if want := (Settled{State: read(t, l, tt.id).State, Cancelled: 1 + 1 + 3, Unknown: 4}); done != want {
				t.Errorf("%s: %+v, want %+v", tt.id, done, want)
			}
			counts(t, l, tt.id)
			if got := rows(t, l, tt.id); got[0].Outcome != OutcomePending {
				t.Errorf("%s: what is held has become %+v", tt.id, got[0])
			}
			for segment, claim := range must[Progress](t)(l.Progress(t.Context(), tt.id)).Held {
				if _, err := l.Free(t.Context(), tt.id, segment, claim); err != nil {
					t.Error(err)
				}
			}
			done = must[Settled](t)(l.Settle(t.Context(), tt.id))
			if want := (Settled{State: tt.state, Cancelled: 2, Over: true, Ended: true}); done != want {
				t.Errorf("%s: %+v, want %+v", tt.id, done, want)
			}
			done = must[Settled](t)(l.Settle(t.Context(), tt.id))
			if want := (Settled{State: tt.state, Over: true}); done != want {
				t.Errorf("%s, again: %+v, want %+v", tt.id, done, want)
			}
			counts(t, l, tt.id)
			end := read(t, l, tt.id)
			if end.State != tt.state || end.Finished.Before(before) || end.Cancelled != 7 || end.Unknown != 5 || end.Reasons[tt.code.Reason()] != 7 {
				t.Errorf("%s: %+v", tt.id, end)
			}
			fresh := Row{Outcome: OutcomeCancelled, Reason: tt.code.Reason(), Detail: tt.detail}
			lost := Row{Outcome: OutcomeUnknown, Reason: "answer_lost", Detail: tt.detail + " before it could be sent again"}
			adrift := Row{Outcome: OutcomeUnknown, Reason: "answer_lost", Detail: "the worker ended before it had recorded the answer"}
			want := map[int]Row{0: fresh, 2: adrift, 3: fresh, 4: lost, 5: lost, 9: adrift, 10: fresh, 13: fresh}
			for i, attempts := range map[int]int{2: 1, 3: 4, 4: 2, 9: 4} { // of 5 nothing was logged but its code
				row := want[i]
				row.Attempts = attempts
				want[i] = row
			}
			for i, got := range rows(t, l, tt.id) {
				w, ok := want[i]
				if !ok {
					continue
				}
				if got.At.Before(before) || got.At.After(serverTime(t, client)) {
					t.Errorf("%s: row %d is of %v", tt.id, i, got.At)
				}
				w.Target, w.At = got.Target, got.At
				if diff := cmp.Diff(w, got); diff != "" {
					t.Errorf("%s: row %d: %s", tt.id, i, diff)
				}
			}
		}
	})
}

// A job is settled in no time but its own, whatever its state.
func TestSettleLeavesOthersAlone(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		future := serverTime(t, client).Add(time.Hour)
		sealed(t, l, Spec{ID: "running", ExpiresAt: future}, 1)
		sealed(t, l, Spec{ID: "scheduled", SendAt: future, ExpiresAt: future.Add(time.Hour)}, 1)
		sealed(t, l, Spec{ID: "paused"}, 1)
		must[Change](t)(l.Pause(t.Context(), "paused"))
		done := sealed(t, l, Spec{ID: "finished"}, 1)
		commit(t, claimed(t, l, done), to(Sent, 0))
		before := dump(t, client)
		for _, state := range []State{StateRunning, StateScheduled, StatePaused, StateFinished} {
			got := must[Settled](t)(l.Settle(t.Context(), string(state)))
			if want := (Settled{State: state, Over: state == StateFinished}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		if _, err := l.Settle(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("no such job: %v", err)
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Error(diff)
		}
	})
}

// The end of a cancelled job is that of any other: retention, an urgent job's
// document, and one key for a job of a few targets. It never started.
func TestEndOfACancelledJob(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, other := newLedger(t, client), newLedger(t, client, func(c *Config) { c.Retention, c.UrgentRetention = time.Second, time.Second })
		if err := l.PublishRetention(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, tt := range map[string]struct {
			urgent bool
			counts []int
			keys   int
			stays  time.Duration
		}{
			"bulk":  {false, []int{30, 40}, 5, l.cfg.Retention},
			"small": {true, []int{2}, 1, l.cfg.UrgentRetention},
		} {
			sealed(t, l, Spec{ID: id, Document: []byte("doc"), Urgent: tt.urgent}, tt.counts...)
			must[Change](t)(other.Cancel(t.Context(), id)) // by a program that does not know the retention
			must[Settled](t)(other.Settle(t.Context(), id))
			keys := must[[]string](t)(client.Keys(t.Context(), "test:{"+id+"}:*").Result())
			if len(keys) != tt.keys {
				t.Errorf("%s: keys %q", id, keys)
			}
			for _, key := range keys {
				if ttl := client.PTTL(t.Context(), key).Val(); ttl > tt.stays || ttl < tt.stays*9/10 {
					t.Errorf("%s stays for %v", key, ttl)
				}
			}
			if _, err := l.Document(t.Context(), id); (err != nil) != tt.urgent {
				t.Errorf("%s: document: %v", id, err)
			}
			counts(t, l, id)
			job := read(t, l, id)
			if job.Finished.Before(job.Created) || !job.Started.IsZero() || job.Cancelled != job.Total {
				t.Errorf("%s: %+v", id, job)
			}
			for _, row := range rows(t, l, id) {
				if row.Outcome != OutcomeCancelled || row.Attempts != 0 || row.At.Before(job.Created) {
					t.Errorf("%s: %+v", id, row)
				}
			}
		}
	})
}

// The last pending target of a cancelled job may become sent by an answer that
// comes late, and the job still ends.
func TestCancelAndLateAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		s := claimed(t, l, sealed(t, l, Spec{}, 1))
		commit(t, s, to(InFlight, 0))
		must[Change](t)(l.Cancel(t.Context(), "j"))
		if _, err := l.Free(t.Context(), "j", s.Name, s.claim); err != nil {
			t.Fatal(err)
		}
		must[int](t)(s.Late(t.Context(), []int32{0}, 1))
		if active := active(t, l); len(active) != 1 {
			t.Errorf("nobody will find the job that has not ended: %+v", active)
		}
		if done := must[Settled](t)(l.Settle(t.Context(), "j")); !done.Ended || done.Cancelled+done.Unknown != 0 {
			t.Errorf("%+v", done)
		}
		counts(t, l, "j")
		if job := read(t, l, "j"); job.Sent != 1 || job.Finished.IsZero() {
			t.Errorf("%+v", job)
		}
		if active := active(t, l); len(active) != 0 {
			t.Errorf("still looked at: %+v", active)
		}
	})
}

// A cancel that is cut off is finished by whoever comes next.
func TestSettleGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		hook := watch(client)
		l := newLedger(t, client)
		sizes := make([]int, 450) // several calls
		for i := range sizes {
			sizes[i] = 1
		}
		sealed(t, l, Spec{}, sizes...)
		must[Change](t)(l.Cancel(t.Context(), "j"))
		n := 0
		hook.during(func(_ context.Context, call scriptCall, run func() error) error {
			if call.name != "settle.lua" {
				return run()
			}
			if n++; n > 3 { // one was not known to the server
				return errCut
			}
			return run()
		})
		if _, err := l.Settle(t.Context(), "j"); !errors.Is(err, errCut) {
			t.Errorf("error %v", err)
		}
		hook.during(nil)
		counts(t, l, "j")
		if job := read(t, l, "j"); job.Cancelled == 0 || job.Pending == 0 {
			t.Errorf("cut off at %+v", job)
		}
		if done := must[Settled](t)(l.Settle(t.Context(), "j")); !done.Ended {
			t.Errorf("%+v", done)
		}
		counts(t, l, "j")
	})
}
