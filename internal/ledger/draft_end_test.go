package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// A started job runs, or waits for its time; one without targets does not start.
func TestDraftStart(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		now := serverTime(t, client)
		for state, sendAt := range map[State]time.Time{StateRunning: now.Add(-time.Minute), StateScheduled: now.Add(time.Hour)} {
			id := string(state)
			begun(t, l, Spec{ID: id, SendAt: sendAt, ExpiresAt: now.Add(2 * time.Hour)})
			d := draft(t, l, id)
			before := dump(t, client)
			if got, err := d.Start(t.Context()); !errors.Is(err, ErrEmpty) || got != "" {
				t.Errorf("without targets: %q, %v", got, err)
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Error(diff)
			}
			add(t, d, 1)
			if got, err := d.Start(t.Context()); err == nil || got != "" {
				t.Errorf("started without what was added: %q", got)
			}
			must[int64](t)(d.Commit(t.Context()))
			if got := must[State](t)(d.Start(t.Context())); got != state {
				t.Errorf("state %q, want %q", got, state)
			}
			var refused *StateError
			if _, err := d.Commit(t.Context()); !errors.As(err, &refused) || refused.State != state {
				t.Errorf("commit to a job that is %s: %v", state, err)
			}
			closed(t, d)
			if job := read(t, l, id); job.State != state || !job.SendAt.Equal(sendAt.Truncate(time.Millisecond)) {
				t.Errorf("%+v", job)
			}
			whole(t, l, id, 1)
		}
	})
}

// Nothing of what was never committed is left, whoever comes next.
func TestDroppedDraft(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, drop := range map[string]func(d *Draft){
			"closed": func(d *Draft) { closed(t, d) },
			"next": func(*Draft) {
				lapse(t, l, "j")
				closed(t, draft(t, l, "j"))
			},
			"started": func(*Draft) {
				lapse(t, l, "j")
				must[State](t)(draft(t, l, "j").Start(t.Context()))
			},
			"started at once": func(d *Draft) {
				d.reset() // or else it refuses
				must[State](t)(d.Start(t.Context()))
			},
			"cancelled": func(*Draft) { must[Change](t)(l.Cancel(t.Context(), "j")) },
		} {
			for _, counts := range [][]int{{9, 1, 1, 1}, {1, 1}} {
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				begun(t, l, Spec{})
				d := draft(t, l, "j")
				put(t, d, 1, 1)
				add(t, d, counts...)
				if n := client.HLen(t.Context(), l.keys("j").names).Val(); n <= 2 {
					t.Errorf("%s: nothing was staged", name)
				}
				drop(d)
				whole(t, l, "j", 2)
			}
		}
	})
}

// A loading job can be cancelled, and nothing else: what it has ends at once,
// beside a request that adds to it.
func TestCancelWhileLoading(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, counts := range map[string][]int{"empty": nil, "small": {2}, "large": {30, 40}} {
			begun(t, l, Spec{ID: name, Document: []byte("doc")})
			d := draft(t, l, name)
			put(t, d, counts...)
			total := d.total
			add(t, d, 3, 4, 5)
			var refused *StateError
			for order, give := range map[string]func() error{
				"pause":  func() error { _, err := l.Pause(t.Context(), name); return err },
				"resume": func() error { _, err := l.Resume(t.Context(), name); return err },
			} {
				if err := give(); !errors.As(err, &refused) || *refused != (StateError{name, StateLoading, order}) {
					t.Errorf("%s: %v", order, err)
				}
			}
			if change := must[Change](t)(l.Cancel(t.Context(), name)); change != (Change{StateLoading, StateCancelled}) {
				t.Errorf("%s: %+v", name, change)
			}
			done := must[Settled](t)(l.Settle(t.Context(), name))
			if want := (Settled{State: StateCancelled, Cancelled: total, Over: true, Ended: true}); done != want {
				t.Errorf("%s: %+v, want %+v", name, done, want)
			}
			before := dump(t, client)
			for what, call := range map[string]func() error{
				"add":    func() error { return d.Add(t.Context(), lines(0, 1), 1) },
				"commit": func() error { _, err := d.Commit(t.Context()); return err },
				"read":   func() error { _, _, err := d.Last(t.Context()); return err },
				"draft":  func() error { _, err := l.Draft(t.Context(), name, time.Hour); return err },
			} {
				if what == "read" && total == 0 {
					continue
				}
				if err := call(); !errors.As(err, &refused) || *refused != (StateError{name, StateCancelled, "load"}) {
					t.Errorf("%s: %s: %v", name, what, err)
				}
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Error(diff)
			}
			closed(t, d)
			ended(t, l, name, total, Row{Outcome: OutcomeCancelled, Reason: "cancelled", Detail: "the job was cancelled"})
			deleted(t, l, name)
		}
	})
}

// ended checks what is left of a job that was cancelled while it was loading.
func ended(t *testing.T, l *Ledger, id string, total int64, want Row) {
	t.Helper()
	counts(t, l, id)
	job := read(t, l, id)
	if job.State != StateCancelled || job.Cancelled != total || job.Finished.IsZero() || !job.IdleUntil.IsZero() || job.Reasons[want.Reason] != total {
		t.Errorf("%+v", job)
	}
	for i, value := range l.client.HMGet(t.Context(), l.keys(id).job, "load", "v", "idle", "idle_at").Val() {
		if value != nil {
			t.Errorf("%s: field %d is still there: %v", id, i, value)
		}
	}
	all := rows(t, l, id)
	if len(all) != int(total) {
		t.Errorf("%s: %d rows, want %d", id, len(all), total)
	}
	for i, row := range all {
		want.Target, want.At = fmt.Sprintf("u%d", i), row.At
		if row != want {
			t.Fatalf("%s: %+v", id, row)
		}
	}
	for _, key := range must[[]string](t)(l.client.Keys(t.Context(), "test:{"+id+"}:*").Result()) {
		if ttl := l.client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > l.cfg.Retention {
			t.Errorf("%s stays for %v", key, ttl)
		}
	}
}

// A job that is deleted while targets are added to it is gone for good.
func TestDeleteWhileLoading(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		begun(t, l, Spec{})
		d := draft(t, l, "j")
		put(t, d, 1, 2)
		add(t, d, 3, 4, 5)
		deleted(t, l, "j")
		for what, call := range map[string]func() error{
			"add":    func() error { return d.Add(t.Context(), lines(0, 1), 1) },
			"commit": func() error { _, err := d.Commit(t.Context()); return err },
			"read":   func() error { _, _, err := d.Last(t.Context()); return err },
			"stored": func() error { return firstError(d.Stored(t.Context())) },
		} {
			if err := call(); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		d.reset()
		if _, err := d.Start(t.Context()); !errors.Is(err, ErrNotFound) {
			t.Errorf("start: %v", err)
		}
		closed(t, d)
		for key := range dump(t, client) {
			if strings.Contains(key, "{j}") {
				t.Errorf("left behind: %s", key)
			}
		}
	})
}

// A job to which nothing is added any more ends, with what it has. Everything
// that is added gives it time.
func TestIdleJobEnds(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client, func(c *Config) { c.LoadingTimeout = 36 * time.Hour })
		many := make([]int, 250) // several calls
		for i := range many {
			many[i] = 1
		}
		for name, counts := range map[string][]int{"empty": nil, "small": {2}, "many": many} {
			begun(t, l, Spec{ID: name, ExpiresAt: time.UnixMilli(1)}) // which does not count
			d := draft(t, l, name)
			put(t, d, counts...)
			total := d.total
			for what, touch := range map[string]func(){
				"add":    func() { add(t, d, 1, 1) },
				"commit": func() { d.reset(); must[int64](t)(d.Commit(t.Context())) },
			} {
				idle(t, l, name)
				touch()
				if job := read(t, l, name); job.IdleUntil.Before(serverTime(t, client).Add(35 * time.Hour)) {
					t.Errorf("%s gives %s time until %v", what, name, job.IdleUntil)
				}
				if done := must[Settled](t)(l.Settle(t.Context(), name)); done != (Settled{State: StateLoading}) {
					t.Errorf("%s: %s: %+v", name, what, done)
				}
			}
			add(t, d, 1, 1)
			job := idle(t, l, name)
			if now := serverTime(t, client); !job.Idle(now) || job.Idle(now.Add(-time.Hour)) {
				t.Errorf("idle at %v", job.IdleUntil)
			}
			done := must[Settled](t)(l.Settle(t.Context(), name))
			if want := (Settled{State: StateCancelled, Cancelled: total, Over: true, Ended: true}); done != want {
				t.Errorf("%s: %+v, want %+v", name, done, want)
			}
			var refused *StateError
			if _, err := d.Commit(t.Context()); !errors.As(err, &refused) || refused.State != StateCancelled {
				t.Errorf("%s: commit: %v", name, err)
			}
			closed(t, d)
			ended(t, l, name, total, Row{Outcome: OutcomeCancelled, Reason: "expired", Detail: "nothing was added for 36 h"})
		}
	})
}

// idle is a job to which nothing was added for too long.
func idle(t testing.TB, l *Ledger, id string) Job {
	t.Helper()
	at := serverTime(t, l.client).UnixMilli()
	if err := l.client.HSet(t.Context(), l.keys(id).job, "idle_at", at).Err(); err != nil {
		t.Fatal(err)
	}
	return read(t, l, id)
}

// What would store something else than was meant is refused.
func TestDraftRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		begun(t, l, Spec{})
		d := draft(t, l, "j")
		put(t, d, 3, 2)
		for text, count := range map[string]int{"": 0, "a\nb\n": 1, "a\n": 2, "a\nb": 1} {
			if err := d.Add(t.Context(), []byte(text), count); err == nil {
				t.Errorf("%q is taken as %d targets", text, count)
			}
		}
		if err := d.Add(t.Context(), lines(9, 1), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(t.Context()); err == nil {
			t.Error("what Last returned is gone")
		}
		whole(t, l, "j", 5)
		closed(t, d)

		d = draft(t, l, "j")
		add(t, d, 1, 1)
		if err := client.HDel(t.Context(), l.keys("j").names, "1+").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("what was staged is gone: %v", err)
		}
		closed(t, d)
		whole(t, l, "j", 5)

		d = draft(t, l, "j")
		for _, damage := range []string{"0", "1"} {
			packed := client.HGet(t.Context(), l.keys("j").names, damage).Val()
			for _, value := range []string{"", "cx", string(l.packer.pack(packedLines, lines(0, 1)))} {
				client.HSet(t.Context(), l.keys("j").names, damage, value)
				if value == "" {
					client.HDel(t.Context(), l.keys("j").names, damage)
				}
				if _, err := d.Start(t.Context()); !errors.Is(err, ErrDamaged) {
					t.Errorf("segment %s is %q: %v", damage, value, err)
				}
				if _, _, err := d.Last(t.Context()); damage == "1" && !errors.Is(err, ErrDamaged) {
					t.Errorf("last segment is %q: %v", value, err)
				}
			}
			client.HSet(t.Context(), l.keys("j").names, damage, packed)
		}
		must[State](t)(d.Start(t.Context()))
	})
}
