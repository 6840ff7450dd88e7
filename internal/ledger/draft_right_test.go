package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

// lapse takes the right to add from whoever has it, as if its time had passed.
func lapse(t testing.TB, l *Ledger, id string) {
	t.Helper()
	if err := l.client.Del(t.Context(), l.keys(id).lock).Err(); err != nil {
		t.Fatal(err)
	}
}

// One at a time adds to a job, and the next one goes on behind it.
func TestOneDraftAtATime(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		if _, err := l.Draft(t.Context(), "j", time.Hour); !errors.Is(err, ErrNotFound) {
			t.Errorf("of no job: %v", err)
		}
		begun(t, l, Spec{})
		first := draft(t, l, "j")
		if _, err := newLedger(t, client).Draft(t.Context(), "j", time.Millisecond); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Draft(ctx, "j", time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		const others = 5
		var all sync.WaitGroup
		for range others {
			all.Go(func() {
				d, err := l.Draft(t.Context(), "j", time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(tryPut(t.Context(), d, 1, 2), d.Close(t.Context())); err != nil {
					t.Error(err)
				}
			})
		}
		put(t, first, 1)
		closed(t, first)
		all.Wait()
		whole(t, l, "j", 1+3*others)
		if keys := must[int64](t)(client.Exists(t.Context(), l.keys("j").lock).Result()); keys != 0 {
			t.Error("somebody still has the right to add")
		}
	})
}

// The right to add stays with its holder, however long a request takes.
func TestRightIsRenewed(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		begun(t, l, Spec{})
		d, lock := draft(t, l, "j"), l.keys("j").lock
		left := func() time.Duration { return must[time.Duration](t)(client.PTTL(t.Context(), lock).Result()) }
		for name, call := range map[string]func(){
			"commit": func() { must[int64](t)(d.Commit(t.Context())) },
			"add":    func() { add(t, d, 1, 1) },
			"time":   func() { eventually(t, "the right is renewed", func() bool { return left() <= rightTTL }) },
		} {
			if err := client.PExpire(t.Context(), lock, time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
			call()
			if got := left(); got <= 0 || got > rightTTL {
				t.Errorf("%s: the right stays for %v", name, got)
			}
		}
		lapse(t, l, "j")
		<-d.kept // whoever has lost it stops asking
		if n := must[int64](t)(client.Exists(t.Context(), lock).Result()); n != 0 {
			t.Error("a right that was lost has come back")
		}
	})
}

// Who has lost the right changes nothing, whether another one has it or not.
func TestDraftIsFenced(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		for name, next := range map[string]func(t *testing.T, l *Ledger) (total int){
			"nobody": func(t *testing.T, l *Ledger) int {
				lapse(t, l, "j")
				return 3
			},
			"another": func(t *testing.T, l *Ledger) int {
				lapse(t, l, "j")
				add(t, draft(t, l, "j"), 1, 5)
				return 3
			},
			"another, done": func(t *testing.T, l *Ledger) int {
				lapse(t, l, "j")
				d := draft(t, l, "j")
				put(t, d, 2, 4)
				closed(t, d)
				return 9
			},
			"another job": func(t *testing.T, l *Ledger) int {
				if err := l.Delete(t.Context(), "j"); err != nil {
					t.Fatal(err)
				}
				begun(t, l, Spec{})
				put(t, draft(t, l, "j"), 1)
				return 1
			},
			"another job under the old right": func(t *testing.T, l *Ledger) int {
				k := l.keys("j") // whose time has passed since it was cancelled
				if err := client.Del(t.Context(), k.job, k.names, k.free).Err(); err != nil {
					t.Fatal(err)
				}
				begun(t, l, Spec{})
				return 0
			},
		} {
			t.Run(name, func(t *testing.T) {
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				l := newLedger(t, client)
				begun(t, l, Spec{})
				d := draft(t, l, "j")
				put(t, d, 1, 2)
				add(t, d, 1, 1, 1)
				total := next(t, l)
				before, lock := dump(t, client), l.keys("j").lock
				if before[lock] == d.token { // which it gives back
					delete(before, lock)
					delete(before, lock+" expires")
				}
				if err := d.Add(t.Context(), lines(9, 1), 1); !errors.Is(err, ErrFenced) {
					t.Errorf("add: %v", err)
				}
				if _, err := d.Commit(t.Context()); !errors.Is(err, ErrFenced) {
					t.Errorf("commit: %v", err)
				}
				d.reset()
				if _, err := d.Commit(t.Context()); !errors.Is(err, ErrFenced) {
					t.Errorf("commit of nothing: %v", err)
				}
				if _, err := d.Start(t.Context()); !errors.Is(err, ErrFenced) {
					t.Errorf("start: %v", err)
				}
				held := client.Get(t.Context(), lock).Val() == d.token
				if renewed := must[bool](t)(d.renew(t.Context())); renewed != held {
					t.Errorf("renewed: %v", renewed)
				}
				closed(t, d)
				if diff := cmp.Diff(before, dump(t, client)); diff != "" {
					t.Error(diff)
				}
				lapse(t, l, "j")
				last := draft(t, l, "j")
				if got := string(listed(t, last)); got != string(lines(0, total)) {
					t.Errorf("stored %q", got)
				}
				whole(t, l, "j", total)
			})
		}
	})
}

// Every script may have been carried out although its reply was lost.
func TestDraftRepeats(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		hook, repeated := watch(client), map[string]bool{}
		hook.during(func(_ context.Context, call scriptCall, run func() error) error {
			if err := run(); err != nil {
				return err
			}
			repeated[call.name] = true
			return run()
		})
		l := newLedger(t, client)
		spec := Spec{ID: "j", Document: []byte("doc")}
		begun(t, l, spec)
		d := draft(t, l, "j")
		put(t, d, 1)
		put(t, d, 2, 3, 1)
		put(t, d)
		closed(t, d)
		closed(t, d)
		d = draft(t, l, "j")
		add(t, d, 5, 1) // never committed
		closed(t, d)
		d = draft(t, l, "j")
		must[State](t)(d.Start(t.Context()))
		closed(t, d)
		whole(t, l, "j", 7)
		hook.during(nil)
		if created, err := loaded(t, l, spec, 7).Seal(t.Context()); created || err != nil {
			t.Errorf("the same at once: %v, %v", created, err)
		}
		for _, name := range []string{"begin.lua", "take.lua", "stage.lua", "join.lua", "launch.lua", "leave.lua"} {
			if !repeated[name] {
				t.Errorf("%s was not called", name)
			}
		}
	})
}

// After a reply that was lost for good the same call settles what has become of it.
func TestDraftGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		hook := watch(client)
		l := newLedger(t, client)
		begun(t, l, Spec{})
		d := draft(t, l, "j")
		cut := func(name string, carriedOut bool) {
			hook.during(func(_ context.Context, call scriptCall, run func() error) error {
				if call.name != name {
					return run()
				}
				if carriedOut {
					if err := run(); err != nil { // the server does not know the script yet
						return err
					}
				}
				hook.during(nil)
				return errCut
			})
		}
		for _, carriedOut := range []bool{true, false} {
			total := d.total
			add(t, d, 1, 2)
			cut("join.lua", carriedOut)
			if _, err := d.Commit(t.Context()); !errors.Is(err, errCut) {
				t.Errorf("commit: %v", err)
			}
			if got := must[int64](t)(d.Commit(t.Context())); got != total+3 {
				t.Errorf("%d targets, want %d", got, total+3)
			}
			whole(t, l, "j", int(total)+3)
		}
		add(t, d, 1)
		cut("join.lua", true)
		if _, err := d.Commit(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("commit: %v", err)
		}
		// What is added behind a commit of which nothing is known cannot be told from it.
		if err := d.Add(t.Context(), lines(7, 1), 1); !errors.Is(err, ErrFenced) {
			t.Errorf("add: %v", err)
		}
		closed(t, d)
		whole(t, l, "j", 7)
		d = draft(t, l, "j")
		for _, carriedOut := range []bool{false, true} {
			cut("launch.lua", carriedOut)
			if _, err := d.Start(t.Context()); !errors.Is(err, errCut) {
				t.Errorf("start: %v", err)
			}
		}
		if state := must[State](t)(d.Start(t.Context())); state != StateRunning {
			t.Errorf("state %q", state)
		}
		whole(t, l, "j", 7)
	})
}

// A Redis whose memory is full takes no targets, and keeps what it has.
func TestDraftInAFullRedis(t *testing.T) {
	client := redistest.StartReal(t).Client()
	l := newLedger(t, client)
	drafts := map[string]*Draft{}
	for _, id := range []string{"added", "whole", "free"} {
		begun(t, l, Spec{ID: id})
		d := must[*Draft](t)(l.Draft(t.Context(), id, 0))
		put(t, d, 1, 1)
		drafts[id] = d
	}
	add(t, drafts["added"], 1, 1)
	closed(t, drafts["free"])
	setMemory := func(bytes string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	setMemory("1")
	before := dump(t, client)
	for name, call := range map[string]func() error{
		"Begin":             func() error { _, err := l.Begin(t.Context(), Spec{ID: "new"}); return err },
		"Draft":             func() error { _, err := l.Draft(t.Context(), "free", 0); return err },
		"Add":               func() error { return drafts["added"].Add(t.Context(), lines(2, 1), 1) },
		"Commit":            func() error { _, err := drafts["added"].Commit(t.Context()); return err },
		"Commit of nothing": func() error { _, err := drafts["whole"].Commit(t.Context()); return err },
		"Start":             func() error { _, err := drafts["whole"].Start(t.Context()); return err },
	} {
		if err := call(); !redis.IsOOMError(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, dump(t, client)); diff != "" {
		t.Error(diff)
	}
	// What gives memory back it does, and the renewal of a right.
	if held := must[bool](t)(drafts["added"].renew(t.Context())); !held {
		t.Error("a right was lost")
	}
	for id, d := range drafts {
		closed(t, d)
		must[Change](t)(l.Cancel(t.Context(), id))
		if done := must[Settled](t)(l.Settle(t.Context(), id)); !done.Ended || done.Cancelled != 2 {
			t.Errorf("%s: %+v", id, done)
		}
	}
	setMemory("0")
	for id := range drafts {
		counts(t, l, id)
	}
}
