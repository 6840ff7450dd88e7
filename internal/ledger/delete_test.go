package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// deleted deletes a job, of which nothing must be left, and nothing else gone.
func deleted(t testing.TB, l *Ledger, id string) {
	t.Helper()
	if err := l.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for key, value := range dump(t, l.client) {
		if strings.Contains(key, "{"+id+"}") {
			t.Errorf("left behind: %s: %v", key, value)
		}
	}
	for _, index := range []string{l.indexKey(), l.activeKey()} {
		for _, member := range members(t, l.client, index) {
			if member == id {
				t.Errorf("%s still has %s", index, id)
			}
		}
	}
	if noted := l.client.HExists(t.Context(), l.tokensKey(), id).Val(); noted {
		t.Errorf("tokens of %s are still noted", id)
	}
}

func TestDelete(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, l *Ledger) Spec{
		"finished": func(t *testing.T, l *Ledger) Spec {
			job := sealed(t, l, Spec{}, 1, 1)
			for range 2 {
				s := claimed(t, l, job)
				commit(t, s, to(Rejected, 0))
				release(t, s)
			}
			return Spec{}
		},
		"cancelled": func(t *testing.T, l *Ledger) Spec {
			sealed(t, l, Spec{}, 2)
			must[Change](t)(l.Cancel(t.Context(), "j"))
			must[Settled](t)(l.Settle(t.Context(), "j"))
			return Spec{}
		},
		"scheduled": func(t *testing.T, l *Ledger) Spec {
			later := Spec{SendAt: time.Now().Add(time.Hour)}
			sealed(t, l, later, 2, 2)
			return later
		},
		"loading": func(t *testing.T, l *Ledger) Spec {
			load := loaded(t, l, Spec{ID: "j"}, 1, 1, 1)
			l.client.HSet(t.Context(), l.keys("j").job, "state", string(StateLoading), "load", load.id)
			return Spec{}
		},
		"of an owner that is gone": func(t *testing.T, l *Ledger) Spec {
			s := claimed(t, l, sealed(t, l, Spec{}, 1))
			commit(t, s, to(Sent, 0))
			return Spec{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, client redis.UniversalClient) {
				l := newLedger(t, client)
				sealed(t, l, Spec{ID: "other"}, 1)
				spec := prepare(t, l)
				if err := l.NoteTokens(t.Context(), "j", time.Now()); err != nil {
					t.Error(err)
				}
				deleted(t, l, "j")
				if other := read(t, l, "other"); other.Pending != 1 {
					t.Errorf("another job: %+v", other)
				}
				if err := l.Delete(t.Context(), "j"); !errors.Is(err, ErrNotFound) {
					t.Errorf("again: %v", err)
				}
				// The id is free: for a job of other content, too.
				spec.Document = []byte(`{"other":1}`)
				if again := sealed(t, l, spec, 3); again.Total != 3 || again.Sent+again.Failed != 0 {
					t.Errorf("under the same id: %+v", again)
				}
				if n := len(members(t, client, l.activeKey())); n != 2 {
					t.Errorf("%d active jobs, want 2", n)
				}
			})
		})
	}
}

// A job that may still be sent stays, whole.
func TestDeleteRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		refused := func(want error, say string) {
			t.Helper()
			before := dump(t, client)
			delete(before, l.ownersKey()) // beats are looked at
			err := l.Delete(t.Context(), "j")
			if !errors.Is(err, want) || !strings.Contains(err.Error(), say) {
				t.Errorf("error %v, want %v", err, want)
			}
			after := dump(t, client)
			for key, value := range before {
				if was, is := fmt.Sprint(value), fmt.Sprint(after[key]); was != is {
					t.Errorf("%s was %s, is %s", key, was, is)
				}
			}
		}
		if err := l.Delete(t.Context(), "j"); !errors.Is(err, ErrNotFound) {
			t.Errorf("nothing there: %v", err)
		}
		job := sealed(t, l, Spec{}, 1)
		refused(ErrActive, `job "j" is running`)
		client.HSet(t.Context(), l.keys("j").job, "state", string(StatePaused))
		refused(ErrActive, `job "j" is paused`)
		client.HSet(t.Context(), l.keys("j").job, "state", string(StateRunning))

		must[[]string](t)(l.Beat(t.Context()))
		s := claimed(t, l, job)
		refused(ErrActive, `job "j" is running`)
		commit(t, s, to(Sent, 0))
		refused(ErrHeld, `job "j"`)
		release(t, s)
		deleted(t, l, "j")

		sealed(t, l, Spec{}, 1)
		must[Change](t)(l.Cancel(t.Context(), "j"))
		refused(ErrUnsettled, `job "j"`)
	})
}

// An owner whose job was deleted, since it was taken for dead, can do nothing
// to the next job of that id.
func TestDeletedJobIsFenced(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, dead := newLedger(t, client), newLedger(t, client)
		old := claimed(t, dead, sealed(t, l, Spec{}, 1))
		commit(t, old, to(InFlight, 0))
		client.HSet(t.Context(), l.keys("j").job, "state", string(StateCancelled), "finished", 1)
		deleted(t, l, "j")
		for _, again := range []bool{false, true} {
			if again {
				sealed(t, l, Spec{}, 1)
			}
			before := fmt.Sprint(dump(t, client))
			if _, err := old.Commit(t.Context(), Tally{}, to(Sent, 0)); !errors.Is(err, ErrFenced) {
				t.Errorf("commit: %v", err)
			}
			if n, err := old.Late(t.Context(), []int32{0}, 1); n != 0 || err != nil {
				t.Errorf("late: %d, %v", n, err)
			}
			release(t, old)
			if _, err := l.Free(t.Context(), "j", old.Name, old.claim); err != nil {
				t.Error(err)
			}
			if after := fmt.Sprint(dump(t, client)); after != before {
				t.Errorf("was %s\nis %s", before, after)
			}
		}
	})
}

// The entry of a job that has taken the id meanwhile stays.
func TestDeleteLeavesANewEntry(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		hook := watch(client)
		l := newLedger(t, client)
		sealed(t, l, Spec{SendAt: time.Now().Add(time.Hour)}, 1)
		enter(t, client, l.indexKey(), "j", time.Hour)
		enter(t, client, l.activeKey(), "j", time.Hour)
		hook.during(func(_ context.Context, call scriptCall, run func() error) error {
			err := run()
			if call.name == "delete.lua" && err == nil { // the first call finds no script
				hook.during(nil)
				sealed(t, newLedger(t, client), Spec{}, 2)
			}
			return err
		})
		if err := l.Delete(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		if active := active(t, l); len(active) != 1 || active[0].Job.Total != 2 {
			t.Errorf("active: %+v", active)
		}
		if index := members(t, client, l.indexKey()); len(index) != 1 {
			t.Errorf("index: %v", index)
		}
	})
}

// What was uploaded for a job goes with it: a new one under its id is not bound to it.
func TestDeleteForgetsUploads(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l, ctx := newLedger(t, client), t.Context()
		u := Upload{URL: "http://h/f", At: time.Now(), Until: time.Now().Add(time.Hour), Job: "j", Name: "photo", Record: []byte("first")}
		kept := must[[]byte](t)(l.KeepUpload(ctx, u))
		u.Record = []byte("second")
		if again := must[[]byte](t)(l.KeepUpload(ctx, u)); string(kept) != "first" || string(again) != "first" {
			t.Errorf("kept %q, then %q", kept, again)
		}
		sealed(t, l, Spec{ID: "j", TargetType: "users", SendAt: time.Now().Add(time.Hour), Document: []byte("{}")}, 1)
		if err := l.Delete(ctx, "j"); err != nil {
			t.Fatal(err)
		}
		if record := must[[]byte](t)(l.Upload(ctx, "j", "photo")); record != nil {
			t.Errorf("still there: %q", record)
		}
	})
}
