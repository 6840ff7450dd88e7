package ledger

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestClaim(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 2, 3)
		before := serverTime(t, client).Truncate(time.Millisecond)
		token := l.Token()
		var again []*Segment
		for range 2 { // as after a reply that was lost
			s, state, err := l.Claim(t.Context(), job, token)
			if err != nil || s == nil || state != StateRunning {
				t.Fatalf("%v, %q, %v", s, state, err)
			}
			again = append(again, s)
		}
		first, second := again[1], claimed(t, l, job)
		if first.Name != again[0].Name {
			t.Errorf("the same token claims %s, then %s", again[0].Name, first.Name)
		}
		if first.Name != "0:0:2" || string(first.Lines) != "u0\nu1\n" || first.Count != 2 || first.JobID != "j" {
			t.Errorf("first: %+v", first)
		}
		if second.Name != "1:2:3" || string(second.Lines) != "u2\nu3\nu4\n" || second.Count != 3 {
			t.Errorf("second: %+v", second)
		}
		if string(second.Target(0)) != "u2" || string(second.Target(2)) != "u4" {
			t.Errorf("targets %s, %s", second.Target(0), second.Target(2))
		}
		if diff := cmp.Diff(map[int32]Code{0: Fresh, 1: Fresh, 2: Fresh}, pending(second)); diff != "" || second.PendingCount() != 3 {
			t.Errorf("pending: %d, %s", second.PendingCount(), diff)
		}
		if s, state, err := l.Claim(t.Context(), job, l.Token()); s != nil || state != StateRunning || err != nil {
			t.Errorf("a third segment: %v, %q, %v", s, state, err)
		}
		if started := read(t, l, "j").Started; started.Before(before) || started.After(serverTime(t, client)) {
			t.Errorf("started at %v", started)
		}
	})
}

func TestClaimRace(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		sizes := make([]int, 40)
		for i := range sizes {
			sizes[i] = 1
		}
		ledgers := []*Ledger{newLedger(t, client), newLedger(t, client)}
		job := sealed(t, ledgers[0], Spec{}, sizes...)
		names := make(chan string, 2*len(sizes))
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for {
					s, _, err := ledgers[i%2].Claim(t.Context(), job, ledgers[i%2].Token())
					if err != nil {
						t.Error(err)
					}
					if s == nil {
						return
					}
					names <- s.Name
				}
			})
		}
		all.Wait()
		close(names)
		holders := map[string]int{}
		for name := range names {
			holders[name]++
		}
		if len(holders) != len(sizes) {
			t.Errorf("%d segments were claimed", len(holders))
		}
		for name, n := range holders {
			if n != 1 {
				t.Errorf("segment %s has %d holders", name, n)
			}
		}
	})
}

func TestClaimNeedsARunningJob(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1)
		for _, state := range States() {
			if err := client.HSet(t.Context(), l.keys("j").job, "state", string(state)).Err(); err != nil {
				t.Fatal(err)
			}
			s, got, err := l.Claim(t.Context(), job, l.Token())
			if got != state || err != nil || (s != nil) != (state == StateRunning) {
				t.Errorf("%s: %v, %q, %v", state, s, got, err)
			}
			if s != nil {
				release(t, s)
			}
		}
		if s, _, err := l.Claim(t.Context(), Job{Spec: Spec{ID: "gone"}}, l.Token()); s != nil || !errors.Is(err, ErrNotFound) {
			t.Errorf("no job: %v, %v", s, err)
		}
	})
}

// What is held when the job is paused stays claimed: its owner has to learn
// which segment it holds in order to release it.
func TestClaimAgainWhilePaused(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job, token := sealed(t, l, Spec{}, 1), l.Token()
		for _, state := range []State{StateRunning, StatePaused} {
			client.HSet(t.Context(), l.keys("j").job, "state", string(state))
			if s, got, err := l.Claim(t.Context(), job, token); s == nil || got != state || err != nil {
				t.Errorf("%s: %v, %q, %v", state, s, got, err)
			}
		}
	})
}

func TestReleaseDelays(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1, 1)
		first, second := claimed(t, l, job), claimed(t, l, job)
		if err := first.Release(t.Context(), time.Hour.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		if s, _, err := l.Claim(t.Context(), job, l.Token()); s != nil || err != nil {
			t.Fatalf("claimed before its time: %v, %v", s, err)
		}
		const delay = 30 * time.Millisecond
		before := serverTime(t, client).Truncate(time.Millisecond)
		if err := second.Release(t.Context(), delay.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		var s *Segment
		eventually(t, "the segment is due", func() bool {
			var err error
			if s, _, err = l.Claim(t.Context(), job, l.Token()); err != nil {
				t.Fatal(err)
			}
			return s != nil
		})
		if waited := serverTime(t, client).Sub(before); s.Name != second.Name || waited < delay {
			t.Errorf("segment %s after %v", s.Name, waited)
		}
		release(t, s)
		if s = claimed(t, l, job); s.Name != second.Name {
			t.Errorf("released without a delay, but claimed is %s", s.Name)
		}
	})
}

// When the time of a job is over, by Redis's clock, nobody gets anything of it.
func TestExpiredJobHandsOutNothing(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		at := serverTime(t, client).Add(time.Hour).Truncate(time.Millisecond)
		job := sealed(t, l, Spec{ExpiresAt: at}, 1, 1)
		token := l.Token()
		if s, _, err := l.Claim(t.Context(), job, token); s == nil || err != nil {
			t.Fatal(s, err)
		}
		client.HSet(t.Context(), l.keys("j").job, "expires_at", serverTime(t, client).UnixMilli()) // its time is over
		if s, state, err := l.Claim(t.Context(), job, l.Token()); s != nil || state != StateRunning || err != nil {
			t.Errorf("%v, %q, %v", s, state, err)
		}
		if s, _, err := l.Claim(t.Context(), job, token); s == nil || err != nil {
			t.Errorf("a claim from before, repeated: %v, %v", s, err)
		}
		if !job.Expired(at) || job.Expired(at.Add(-1)) || (Job{}).Expired(at) {
			t.Error("Expired tells the wrong time")
		}
	})
}

func TestReleaseOfASettledSegment(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1, 1)
		s := claimed(t, l, job)
		commit(t, s, to(Sent, 0))
		release(t, s)
		if s = claimed(t, l, job); s.Name != "1:1:1" {
			t.Errorf("a settled segment came back: %s", s.Name)
		}
		if _, err := s.Commit(t.Context(), Tally{}); err != nil {
			t.Errorf("the claim of the other one is lost: %v", err)
		}
	})
}

func TestReleaseAfterLosingTheClaim(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1)
		old := claimed(t, l, job)
		if _, err := l.Free(t.Context(), "j", old.Name, old.claim); err != nil {
			t.Fatal(err)
		}
		fresh := claimed(t, l, job)
		before := dump(t, client)
		release(t, old)
		if _, err := l.Free(t.Context(), "j", old.Name, old.claim); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Errorf("the former holder has changed %s", diff)
		}
		commit(t, fresh, to(Sent, 0))
	})
}
