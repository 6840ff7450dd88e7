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

// orphaned is a segment that a dead owner holds, and one that has taken it over.
func orphaned(t *testing.T, client redis.UniversalClient, live *Ledger, updates ...Update) (old, fresh *Segment) {
	t.Helper()
	dead := newLedger(t, client)
	job := sealed(t, dead, Spec{}, 1, 4)
	claimed(t, live, job)
	old = claimed(t, dead, job)
	for _, u := range updates {
		commit(t, old, u)
	}
	alive := must[[]string](t)(live.Beat(t.Context()))
	for _, p := range active(t, live) {
		for segment, claim := range p.Abandoned(alive) {
			if _, err := live.Free(t.Context(), p.Job.ID, segment, claim); err != nil {
				t.Fatal(err)
			}
		}
	}
	fresh = claimed(t, live, job)
	if fresh.Name != old.Name {
		t.Fatalf("taken over is %s, not %s", fresh.Name, old.Name)
	}
	return old, fresh
}

func TestTakeover(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		live := newLedger(t, client)
		before := serverTime(t, client).Truncate(time.Millisecond)
		_, s := orphaned(
			t, client, live,
			Update{Index: []int32{1, 2, 3}, Code: InFlight},
			Update{Index: []int32{1, 2}, Code: Lost, Attempts: 1, Detail: "first"},
			Update{Index: []int32{3}, Code: Sent, Attempts: 1},
			Update{Index: []int32{2}, Code: InFlight},
			Update{Index: []int32{2}, Code: Refused, Attempts: 2, Detail: "second"},
			Update{Index: []int32{1, 2}, Code: InFlight},
		)
		after := serverTime(t, client)
		got, tries := map[int32]Code{}, map[int32]Try{}
		s.Pending(func(i int32, c Code, try Try) { got[i], tries[i] = c, try })
		if diff := cmp.Diff(map[int32]Code{0: Fresh, 1: InFlight, 2: InFlight}, got); diff != "" {
			t.Errorf("codes: %s", diff)
		}
		if tries[0] != (Try{}) || tries[1].Attempts != 1 || tries[2].Attempts != 2 {
			t.Errorf("attempts: %+v", tries)
		}
		all := rows(t, live, "j")[1:] // behind the segment of the living
		first, second := tries[1].LastFailed, tries[2].LastFailed
		if first.Before(before) || second.After(after) || first != all[1].At || second != all[2].At || second.Before(first) {
			t.Errorf("last failures: %+v, between %v and %v; the rows say %v and %v", tries, before, after, all[1].At, all[2].At)
		}
		if tries[1].Waited != 0 || tries[2].Waited != min(second.Sub(first), LongestWait(1)) {
			t.Errorf("waited: %+v", tries)
		}
		counts(t, live, "j")
	})
}

func TestClaimOfAnUnreadableSegment(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job, k := sealed(t, l, Spec{}, 2), l.keys("j")
		names := client.HGet(t.Context(), k.names, "0").Val()
		unreadable := func(what, text string) {
			t.Helper()
			s, _, err := l.Claim(t.Context(), job, l.Token())
			if s != nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, %v", what, s, err)
			}
			// It is nobody's, and rests for long.
			due := client.ZRangeWithScores(t.Context(), k.free, 0, -1).Val()
			if n := client.HLen(t.Context(), k.held).Val(); n != 0 || len(due) != 1 || time.UnixMilli(int64(due[0].Score)).Before(time.Now().Add(5*time.Minute)) {
				t.Errorf("%s: %d held, due %v", what, n, due)
			}
			client.ZAdd(t.Context(), k.free, redis.Z{Score: 0, Member: due[0].Member})
		}
		for what, text := range map[string]string{"": "has no names", "ru0\n": "holds 1 names", "zXX": "segment"} {
			client.HSet(t.Context(), k.names, "0", what)
			unreadable(fmt.Sprintf("names %q", what), text)
		}
		client.HSet(t.Context(), k.names, "0", names)
		client.HSet(t.Context(), k.log, "0", "today []\n")
		unreadable("log without a time", "log")
	})
}

// A Redis that comes back without its last writes (a failover, a log that was
// not flushed) takes nothing from an owner that knows more: the segment is
// claimed again, by what stands there.
func TestRedisGoesBackInTime(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job, k := sealed(t, l, Spec{}, 4), l.keys("j")
		commit := func(s *Segment, index ...int32) error {
			_, err := s.Commit(t.Context(), Tally{}, Update{Index: index, Code: Sent, Attempts: 1})
			return err
		}
		claim := func() *Segment {
			t.Helper()
			s, _, err := l.Claim(t.Context(), job, l.Token())
			if err != nil || s == nil {
				t.Fatal(s, err)
			}
			return s
		}
		forget := func(s *Segment, dump []string) { // what the second checkpoint wrote
			client.HSet(t.Context(), k.job, "pending", dump[0], "sent", dump[1])
			client.Set(t.Context(), k.out, dump[2], 0)
			client.HSet(t.Context(), k.held, s.Name+"#", "1")
		}
		s := claim()
		if err := commit(s, 0); err != nil {
			t.Fatal(err)
		}
		dump := []string{"3", "1", client.Get(t.Context(), k.out).Val()}
		if err := commit(s, 1); err != nil {
			t.Fatal(err)
		}
		forget(s, dump)
		if err := commit(s, 2); !errors.Is(err, ErrFenced) {
			t.Fatalf("a checkpoint behind a gap: %v", err)
		}
		if err := s.Release(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		// The same, found out by the release: the owner believes that all are settled.
		s = claim()
		if err := commit(s, 1); err != nil {
			t.Fatal(err)
		}
		dump = []string{"2", "2", client.Get(t.Context(), k.out).Val()}
		if err := commit(s, 2); err != nil {
			t.Fatal(err)
		}
		forget(s, dump)
		if err := s.Release(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		s = claim()
		if err := commit(s, 2, 3); err != nil {
			t.Fatal(err)
		}
		counts(t, l, "j")
		if done, err := l.Job(t.Context(), "j"); err != nil || done.Sent != 4 || done.State != StateFinished {
			t.Errorf("job %+v, %v", done, err)
		}
	})
}

func TestLate(t *testing.T) {
	mark := Update{Index: []int32{0, 1, 2, 3}, Code: InFlight}
	for name, tt := range map[string]struct {
		made    []Update // by the owner that is late
		taken   bool     // by a new holder
		settled []Update // by the new holder
		want    string   // codes after it
		n       int
	}{
		"nobody holds the segment":         {[]Update{mark}, false, nil, "ssii", 2},
		"a new holder has not settled yet": {[]Update{mark}, true, nil, "iiii", 0},
		"unknown": {
			[]Update{mark}, true, []Update{to(AnswerLost, 0, 1, 2, 3)}, "ssuu", 2,
		},
		"one unknown, one to be sent again": {
			[]Update{mark}, true, []Update{to(AnswerLost, 0), to(Lost, 1, 2, 3)}, "slll", 1,
		},
		"failed stays": {[]Update{mark, to(Rejected, 0)}, false, nil, "rsii", 1},
		"never sent":   {nil, false, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, client redis.UniversalClient) {
				l := newLedger(t, client)
				job := sealed(t, l, Spec{}, 1, 4)
				claimed(t, l, job)
				old := claimed(t, l, job)
				for _, u := range tt.made {
					commit(t, old, u)
				}
				if _, err := l.Free(t.Context(), "j", old.Name, old.claim); err != nil {
					t.Fatal(err)
				}
				if tt.taken {
					fresh := claimed(t, l, job)
					for _, u := range tt.settled {
						commit(t, fresh, u)
					}
				}
				for _, want := range []int{tt.n, 0} { // repeated, it finds nothing more to do
					if n, err := old.Late(t.Context(), []int32{0, 1}, 3); n != want || err != nil {
						t.Errorf("%d became sent, want %d (%v)", n, want, err)
					}
				}
				codes := client.Get(t.Context(), l.keys("j").out).Val() + client.HGet(t.Context(), l.keys("j").job, "o").Val()
				if strings.TrimLeft(codes, "\x00") != tt.want {
					t.Errorf("codes %q, want %q", codes, tt.want)
				}
				counts(t, l, "j")
				for i, row := range rows(t, l, "j")[1:] {
					if late := row.Outcome == OutcomeSent; late && (row.Attempts != 3 || row.At.IsZero() || row.Detail != "") {
						t.Errorf("row %d: %+v", i, row)
					}
				}
			})
		})
	}
}

// When late answers have settled the last targets, the next holder finds
// nothing to do and ends the job.
func TestLateSettlesTheJob(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 2)
		old := claimed(t, l, job)
		commit(t, old, to(InFlight, 0, 1))
		for range 2 { // the second owner dies before it has settled anything
			if _, err := l.Free(t.Context(), "j", old.Name, old.claim); err != nil {
				t.Fatal(err)
			}
			if _, err := old.Late(t.Context(), []int32{0, 1}, 1); err != nil {
				t.Fatal(err)
			}
			old = claimed(t, l, job)
		}
		if job := read(t, l, "j"); job.Pending != 0 || job.Sent != 2 {
			t.Errorf("%+v", job)
		}
		if state := commit(t, old); state != StateFinished {
			t.Errorf("state %s", state)
		}
		counts(t, l, "j")
	})
}
