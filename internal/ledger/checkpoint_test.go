package ledger

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestCommit(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 3, 12)
		claimed(t, l, job)
		s := claimed(t, l, job)
		commit(t, s, Update{Index: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Code: InFlight})
		state, err := s.Commit(t.Context(), Tally{Calls: 2, Throttled: 1},
			to(Sent, 0, 2), to(AnswerLost, 1), to(Rejected, 3), to(NotAllowed, 4), to(TooLarge, 5), to(Unsupported, 6),
			to(GaveUp, 7), to(Cancelled, 8), to(Expired, 9), to(Lost, 10))
		if err != nil || state != StateRunning {
			t.Fatalf("%q, %v", state, err)
		}
		commit(t, s, Update{Index: []int32{10}, Code: InFlight}, to(Sent, 1)) // the lost answer was found
		got := read(t, l, "j")
		want := got
		want.Pending, want.Sent, want.Failed, want.Unknown, want.Cancelled = 5, 3, 5, 0, 2
		want.Resent, want.Calls, want.Throttled = 1, 2, 1
		want.Reasons = map[string]int64{
			"rejected": 1, "not_allowed": 1, "too_large": 1, "unsupported": 1, "gave_up": 1, "cancelled": 1, "expired": 1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		counts(t, l, "j")
		if diff := cmp.Diff(map[int32]Code{10: InFlight, 11: Fresh}, pending(s)); diff != "" {
			t.Errorf("pending: %s", diff)
		}
	})
}

func TestFinalOutcomesStay(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		finals := []Code{Sent, AnswerLost, Rejected, NotAllowed, TooLarge, Unsupported, GaveUp, Cancelled, Expired}
		s := claimed(t, l, sealed(t, l, Spec{}, len(finals)+1))
		for i, c := range finals {
			commit(t, s, to(c, int32(i)))
		}
		before := dump(t, client)
		for i, old := range finals {
			for c := range rune(256) {
				if old == AnswerLost && Code(c) == Sent {
					continue
				}
				// The other target of the commit stays as it is, too.
				_, err := s.Commit(t.Context(), Tally{Calls: 1}, to(Sent, int32(len(finals))), to(Code(c), int32(i)))
				if err == nil {
					t.Errorf("%q became %q", old, c)
				}
			}
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Errorf("refused commits change %s", diff)
		}
		commit(t, s, to(Sent, 1))
		counts(t, l, "j")
		if job := read(t, l, "j"); job.Unknown != 0 || job.Sent != 2 {
			t.Errorf("unknown %d, sent %d", job.Unknown, job.Sent)
		}
	})
}

func TestFencedCommitChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 2)
		for name, lose := range map[string]func(s *Segment){
			"freed":    func(s *Segment) { _, _ = l.Free(t.Context(), "j", s.Name, s.claim) },
			"released": func(s *Segment) { release(t, s) },
		} {
			old := claimed(t, l, job)
			commit(t, old, to(InFlight, 0))
			lose(old)
			fresh := claimed(t, l, job)
			before := dump(t, client)
			for range 2 {
				if _, err := old.Commit(t.Context(), Tally{Calls: 1}, to(Sent, 0)); !errors.Is(err, ErrFenced) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Errorf("%s: a fenced commit changes %s", name, diff)
			}
			release(t, fresh)
		}
	})
}

func TestFinish(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, tt := range map[string]struct {
			spec      Spec
			retention time.Duration
		}{
			"bulk":   {Spec{ID: "bulk", Document: []byte("doc")}, l.cfg.Retention},
			"urgent": {Spec{ID: "urgent", Document: []byte("doc"), Urgent: true}, l.cfg.UrgentRetention},
		} {
			job := sealed(t, l, tt.spec, 1, 2)
			first, second := claimed(t, l, job), claimed(t, l, job)
			commit(t, first, to(Sent, 0))
			before := serverTime(t, client).Truncate(time.Millisecond)
			if state := commit(t, second, to(Rejected, 0)); state != StateRunning {
				t.Errorf("%s: %s while a target is pending", name, state)
			}
			if state := commit(t, second, to(AnswerLost, 1)); state != StateFinished {
				t.Errorf("%s: %s when none is", name, state)
			}
			got := read(t, l, name)
			if got.State != StateFinished || got.Finished.Before(before) || got.Finished.After(serverTime(t, client)) {
				t.Errorf("%s: state %s, finished %v", name, got.State, got.Finished)
			}
			counts(t, l, name)
			for _, key := range must[[]string](t)(client.Keys(t.Context(), "test:{"+name+"}:*").Result()) {
				if ttl := client.PTTL(t.Context(), key).Val(); ttl > tt.retention || ttl < tt.retention/2 {
					t.Errorf("%s: %s stays for %v", name, key, ttl)
				}
			}
			if _, err := l.Document(t.Context(), name); (err != nil) != tt.spec.Urgent {
				t.Errorf("%s: document: %v", name, err)
			}
			// A truth that comes late changes neither the end nor the retention.
			if state := commit(t, second, to(Sent, 1)); state != StateFinished || read(t, l, name).Finished != got.Finished {
				t.Errorf("%s: finished again", name)
			}
			if s, state, err := l.Claim(t.Context(), job, l.Token()); s != nil || state != StateFinished || err != nil {
				t.Errorf("%s: claimed %v, %q, %v", name, s, state, err)
			}
		}
	})
}

// Somebody else decides what a cancelled job is; its last target does not make
// it a finished one.
func TestFinishOfACancelledJob(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		s := claimed(t, l, sealed(t, l, Spec{}, 1))
		must[Change](t)(l.Cancel(t.Context(), "j"))
		state := commit(t, s, to(Cancelled, 0))
		if job := read(t, l, "j"); state != StateCancelled || job.State != StateCancelled || job.Finished.IsZero() {
			t.Errorf("%q, %q, finished %v", state, job.State, job.Finished)
		}
	})
}

// After the retention nothing of a job is left, whatever its last owners did.
func TestRetention(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client, func(c *Config) { c.Retention = 50 * time.Millisecond })
		job := sealed(t, l, Spec{Document: []byte("doc")}, 1, 1, 1)
		put := claimed(t, l, job) // settled, and put back since its owner died before it had released it
		commit(t, put, to(Sent, 0))
		late := claimed(t, l, job) // the same, but found out after the end
		commit(t, late, to(Sent, 0))
		if _, err := l.Free(t.Context(), "j", put.Name, put.claim); err != nil {
			t.Fatal(err)
		}
		if state := commit(t, claimed(t, l, job), to(Sent, 0)); state != StateFinished {
			t.Fatalf("state %s", state)
		}
		if _, err := l.Free(t.Context(), "j", late.Name, late.claim); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the job is gone", func() bool {
			_, err := l.Job(t.Context(), "j")
			return errors.Is(err, ErrNotFound)
		})
		eventually(t, "all of it is gone", func() bool {
			keys := must[[]string](t)(client.Keys(t.Context(), "test:{j}:*").Result())
			return len(keys) == 0
		})
		for _, err := range l.Rows(t.Context(), "j") {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("rows: %v", err)
			}
		}
		for job, err := range l.Jobs(t.Context(), "") {
			t.Errorf("listed: %+v, %v", job, err)
		}
	})
}

// A segment that was settled and put back is claimed once more, and only then
// gone: an owner that dies between settling and telling costs one claim.
func TestSettledSegmentPutBack(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1, 1)
		s := claimed(t, l, job)
		commit(t, s, to(Sent, 0))
		claimed(t, l, job)
		if _, err := l.Free(t.Context(), "j", s.Name, s.claim); err != nil {
			t.Fatal(err)
		}
		s = claimed(t, l, job)
		if s.Name != "0:0:1" || s.PendingCount() != 0 {
			t.Errorf("segment %s with %d pending", s.Name, s.PendingCount())
		}
		if state := commit(t, s); state != StateRunning {
			t.Errorf("state %s", state)
		}
		release(t, s)
		if s, _, err := l.Claim(t.Context(), job, l.Token()); s != nil || err != nil {
			t.Errorf("%v, %v", s, err)
		}
	})
}

func TestScriptsUseDeclaredKeysOnly(t *testing.T) {
	for _, name := range append(slices.Collect(maps.Keys(scriptFiles())), "end.lua") {
		text := string(must[[]byte](t)(scripts.ReadFile(name)))
		for call := range strings.SplitSeq(text, "redis.call(") {
			command, rest, ok := strings.Cut(strings.TrimPrefix(call, "'"), "'")
			if strings.HasPrefix(call, "'") && ok && command != "TIME" && !strings.HasPrefix(rest, ", KEYS[") {
				t.Errorf("%s: %s takes a key that is not declared", name, command)
			}
		}
	}
}
