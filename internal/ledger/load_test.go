package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestSeal(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		for name, counts := range map[string][]int{"one": {3}, "many": {2, 5, 1}, "large": {10_000, 10_000, 7}} {
			spec := Spec{
				ID: name, Name: "Spring", TargetType: "users", Urgent: true, Weight: 3, Hold: true, MaxRate: 7,
				ExpiresAt: time.UnixMilli(9_000_000_000_001).UTC(), ResendOf: "winter", Document: []byte(`{"msg":{}}`),
			}
			before := serverTime(t, client).Truncate(time.Millisecond)
			job := sealed(t, l, spec, counts...)
			total := 0
			for _, n := range counts {
				total += n
			}
			if job.Created.Before(before) || job.Created.After(serverTime(t, client)) {
				t.Errorf("%s: created at %v, it is %v", name, job.Created, before)
			}
			document := must[[]byte](t)(l.Document(t.Context(), name))
			if string(document) != string(spec.Document) {
				t.Errorf("%s: document %q", name, document)
			}
			want := Job{
				Spec: spec, State: StateRunning, Total: int64(total), Pending: int64(total),
				Created: job.Created, Reasons: map[string]int64{},
			}
			want.Document = nil
			if diff := cmp.Diff(want, job); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			all := rows(t, l, name)
			if len(all) != total {
				t.Fatalf("%s: %d rows", name, len(all))
			}
			for i, row := range all {
				if row != (Row{Target: fmt.Sprintf("u%d", i), Outcome: OutcomePending}) {
					t.Fatalf("%s: row %d is %+v", name, i, row)
				}
			}
			for _, key := range must[[]string](t)(client.Keys(t.Context(), "test:{"+name+"}:*").Result()) {
				if ttl := client.PTTL(t.Context(), key).Val(); ttl != -1 {
					t.Errorf("%s goes after %v, finished or not", key, ttl)
				}
			}
		}
	})
}

func TestSealDefaults(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		at := time.UnixMilli(9_000_000_000_000).UTC()
		job := sealed(t, l, Spec{SendAt: at}, 1)
		want := Job{
			Spec:  Spec{ID: "j", Weight: 1, SendAt: at},
			State: StateScheduled, Total: 1, Pending: 1, Created: job.Created, Reasons: map[string]int64{},
		}
		if diff := cmp.Diff(want, job); diff != "" {
			t.Error(diff)
		}
		if job.Priority() != "bulk" || (Spec{Urgent: true}).Priority() != "urgent" {
			t.Error("priorities are not bulk and urgent")
		}
	})
}

func TestSealAgain(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		spec := Spec{ID: "j", TargetType: "users", Document: []byte("doc")}
		first := loaded(t, l, spec, 2, 2)
		for range 2 { // as after a reply that was lost
			if created, err := first.Seal(t.Context()); !created || err != nil {
				t.Fatalf("created %v, %v", created, err)
			}
		}
		s := claimed(t, l, read(t, l, "j"))
		commit(t, s, to(Sent, 0))
		before := dump(t, client)

		// The same targets, cut otherwise.
		created, err := loaded(t, l, spec, 3, 1).Seal(t.Context())
		if created || err != nil {
			t.Errorf("the same again: created %v, %v", created, err)
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Errorf("the same again changes %s", diff)
		}
		if created, err := first.Seal(t.Context()); !created || err != nil {
			t.Errorf("the first load still made the job: %v, %v", created, err)
		}
		document := spec
		document.Document = []byte("cod")
		for name, other := range map[string]struct {
			spec   Spec
			counts []int
		}{
			"targets":       {spec, []int{5}},
			"fewer targets": {spec, []int{2, 1}},
			"document":      {document, []int{2, 2}},
		} {
			created, err := loaded(t, l, other.spec, other.counts...).Seal(t.Context())
			if created || !errors.Is(err, ErrConflict) {
				t.Errorf("other %s: created %v, %v", name, created, err)
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Errorf("other %s: %s", name, diff)
			}
		}
	})
}

func TestUnsealedLoadIsInvisible(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		load := loaded(t, l, Spec{ID: "j"}, 1, 1, 1)
		invisible := func() {
			t.Helper()
			if _, err := l.Job(t.Context(), "j"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Job: %v", err)
			}
			if _, err := l.Document(t.Context(), "j"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Document: %v", err)
			}
			for job, err := range l.Jobs(t.Context(), "") {
				t.Errorf("Jobs has %+v, %v", job, err)
			}
			for _, err := range l.Rows(t.Context(), "j") {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("Rows: %v", err)
				}
			}
			if s, _, err := l.Claim(t.Context(), Job{Spec: Spec{ID: "j"}}, l.Token()); s != nil || !errors.Is(err, ErrNotFound) {
				t.Errorf("Claim: %v, %v", s, err)
			}
			if active, _, err := l.Active(t.Context()); len(active) > 0 || err != nil {
				t.Errorf("Active: %v, %v", active, err)
			}
		}
		invisible()
		staged := must[[]string](t)(client.Keys(t.Context(), "*").Result())
		if len(staged) != 1 {
			t.Fatalf("keys of an unsealed load: %v", staged)
		}
		if ttl := client.TTL(t.Context(), staged[0]).Val(); ttl <= 0 || ttl > stagedTTL {
			t.Errorf("staged segments stay for %v", ttl)
		}
		if err := load.Abort(t.Context()); err != nil || len(dump(t, client)) > 0 {
			t.Errorf("after Abort: %v, %v", err, dump(t, client))
		}
		// What is staged is lost, as if it had expired: the load fails, whole.
		if created, err := load.Seal(t.Context()); created || err == nil || !strings.Contains(err.Error(), "lost") {
			t.Errorf("sealed without its segments: %v, %v", created, err)
		}
		invisible()
		// The same id can be loaded afresh.
		sealed(t, l, Spec{ID: "j"}, 1, 1, 1)
	})
}

func TestLoadRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		load := newLedger(t, client).NewLoad(Spec{ID: "j"})
		for text, count := range map[string]int{"": 0, "a\nb\n": 1, "a\n": 2, "a\nb": 1} {
			if err := load.Add(t.Context(), []byte(text), count); err == nil {
				t.Errorf("%q is taken as %d targets", text, count)
			}
		}
		if created, err := load.Seal(t.Context()); created || err == nil {
			t.Errorf("a job without targets: created %v, %v", created, err)
		}
		if all := dump(t, client); len(all) > 0 {
			t.Errorf("Redis holds %v", all)
		}
	})
}

func TestSealRace(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		const loads = 8
		made := make(chan bool, loads)
		var all sync.WaitGroup
		for range loads {
			load := loaded(t, l, Spec{ID: "j"}, 1, 2)
			all.Go(func() {
				created, err := load.Seal(t.Context())
				if err != nil {
					t.Error(err)
				}
				made <- created
			})
		}
		all.Wait()
		close(made)
		n := 0
		for created := range made {
			if created {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d loads have created the job", n)
		}
		if got := len(rows(t, l, "j")); got != 3 {
			t.Errorf("%d rows", got)
		}
		if keys := must[[]string](t)(client.Keys(t.Context(), "*:load:*").Result()); len(keys) > 0 {
			t.Errorf("staged segments are left: %v", keys)
		}
	})
}

// An index entry that a failed load left long ago is written anew, so that
// nobody drops it when its job has just come.
func TestSealRenewsOldEntries(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		old := redis.Z{Score: float64(time.Now().Add(-2 * sealGrace).UnixMilli()), Member: "j"}
		for _, index := range []string{l.indexKey(), l.activeKey()} {
			if err := client.ZAdd(t.Context(), index, old).Err(); err != nil {
				t.Fatal(err)
			}
		}
		sealed(t, l, Spec{}, 1)
		// A sweeper that looked before the seal and drops after it.
		for _, index := range []string{l.indexKey(), l.activeKey()} {
			if err := l.drop(t.Context(), index, []any{"j", old.Score}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.ZScore(t.Context(), index, "j").Result(); err != nil {
				t.Errorf("%s: %v", index, err)
			}
		}
		// Sealing again leaves the time of creation alone.
		score := client.ZScore(t.Context(), l.indexKey(), "j").Val()
		if created, err := loaded(t, l, Spec{ID: "j"}, 1).Seal(t.Context()); created || err != nil {
			t.Fatalf("%v, %v", created, err)
		}
		if now := client.ZScore(t.Context(), l.indexKey(), "j").Val(); now != score {
			t.Errorf("the entry's time went from %v to %v", score, now)
		}
	})
}

// A walk that goes on behind a cursor sees every job once, also where many were
// made in the same millisecond and others come and go meanwhile.
func TestJobsByCursor(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		const n = 250
		for i := range n {
			sealed(t, l, Spec{ID: fmt.Sprintf("job-%03d", i), TargetType: "users", Document: []byte("{}")}, 1)
			// Ten at a time.
			client.ZAdd(t.Context(), l.indexKey(), redis.Z{Score: float64(1_000_000 + i/10), Member: fmt.Sprintf("job-%03d", i)})
		}
		var seen []string
		for cursor, more := "", true; more; {
			more = false
			for job, err := range l.Jobs(t.Context(), cursor) {
				if err != nil {
					t.Fatal(err)
				}
				seen, cursor = append(seen, job.ID), job.Cursor
				if more = len(seen)%7 == 0; more {
					break
				}
			}
			sealed(t, l, Spec{ID: fmt.Sprintf("new-%d", len(seen)), TargetType: "users", Document: []byte("{}")}, 1)
		}
		inOrder := slices.IsSortedFunc(seen, func(a, b string) int { return strings.Compare(b, a) })
		if len(seen) != n || seen[0] != "job-249" || !inOrder {
			t.Errorf("seen %d: %v", len(seen), seen)
		}
		for _, wrong := range []string{"x", "12", "12-", "-a"} {
			for _, err := range l.Jobs(t.Context(), wrong) {
				if !errors.Is(err, ErrCursor) {
					t.Errorf("cursor %q: %v", wrong, err)
				}
			}
		}
	})
}
