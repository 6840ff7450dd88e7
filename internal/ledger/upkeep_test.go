package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// enter writes an entry of an index as of some time ago.
func enter(t testing.TB, client redis.UniversalClient, index, id string, ago time.Duration) {
	t.Helper()
	z := redis.Z{Score: float64(time.Now().Add(-ago).UnixMilli()), Member: id}
	if err := client.ZAdd(t.Context(), index, z).Err(); err != nil {
		t.Fatal(err)
	}
}

func members(t testing.TB, client redis.UniversalClient, index string) []string {
	t.Helper()
	return must[[]string](t)(client.ZRange(t.Context(), index, 0, -1).Result())
}

// active is what Active tells of jobs that have not ended.
func active(t testing.TB, l *Ledger) []Progress {
	t.Helper()
	active, _, err := l.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return active
}

// second is the error that comes with a value.
func second[T any](_ T, err error) error { return err }

func TestActive(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		if active, _, err := l.Active(t.Context()); len(active) != 0 || err != nil {
			t.Errorf("without jobs: %v, %v", active, err)
		}
		noted := time.UnixMilli(1_700_000_000_123)
		running := sealed(t, l, Spec{ID: "running"}, 1, 1, 1, 1)
		held := claimed(t, l, running)
		commit(t, held, to(InFlight, 0))
		delayed := claimed(t, l, running)
		if err := delayed.Release(t.Context(), time.Hour.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		over := sealed(t, l, Spec{ID: "over"}, 1)
		if err := claimed(t, l, over).Release(t.Context(), time.Hour.Milliseconds()); err != nil {
			t.Fatal(err)
		}
		must[Change](t)(l.Cancel(t.Context(), "over")) // and not settled yet
		done := sealed(t, l, Spec{ID: "done"}, 1)
		commit(t, claimed(t, l, done), to(Sent, 0))
		enter(t, client, l.activeKey(), "running", time.Second) // the oldest
		enter(t, client, l.activeKey(), "coming", time.Minute)
		enter(t, client, l.activeKey(), "never came", 2*sealGrace)
		for _, id := range []string{"running", "done", "stray"} {
			if err := l.NoteTokens(t.Context(), id, noted); err != nil {
				t.Fatal(err)
			}
		}
		want := []Progress{
			{Job: read(t, l, "running"), Due: 2, Held: map[string]string{held.Name: held.claim}, TokensAt: noted},
			{Job: read(t, l, "over"), Due: 0, Held: map[string]string{}},
		}
		for _, news := range [][]string{{"done"}, nil} {
			got, ended, err := l.Active(t.Context())
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
			if !slices.Equal(ended, news) {
				t.Errorf("found to have ended: %v, want %v", ended, news)
			}
			if left := members(t, client, l.activeKey()); !slices.Equal(left, []string{"coming", "running", "over"}) {
				t.Errorf("still looked at: %v", left)
			}
			if tokens := client.HKeys(t.Context(), l.tokensKey()).Val(); !slices.Equal(tokens, []string{"running"}) {
				t.Errorf("tokens are noted of %v", tokens)
			}
		}
		for _, want := range []bool{true, false} { // one is the first to say so
			if first, err := l.Ended(t.Context(), "running"); first != want || err != nil {
				t.Errorf("Ended: %v, %v, want %v", first, err, want)
			}
		}
		if left := members(t, client, l.activeKey()); slices.Contains(left, "running") || client.Exists(t.Context(), l.tokensKey()).Val() != 0 {
			t.Errorf("after Ended: %v", left)
		}
	})
}

func TestAbandoned(t *testing.T) {
	p := Progress{Held: map[string]string{"0:0:1": "a/1", "1:1:1": "b/1", "2:2:1": "a/2"}}
	for _, tt := range []struct {
		alive []string
		want  map[string]string
	}{
		{[]string{"a", "b", "c"}, map[string]string{}},
		{[]string{"b"}, map[string]string{"0:0:1": "a/1", "2:2:1": "a/2"}},
		{nil, p.Held},
	} {
		if diff := cmp.Diff(tt.want, p.Abandoned(tt.alive)); diff != "" {
			t.Errorf("alive %v: %s", tt.alive, diff)
		}
	}
}

func TestTrim(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		const jobs = 300 // more than one step of the walk
		for i := range jobs {
			enter(t, client, l.indexKey(), fmt.Sprintf("gone%d", i), 2*sealGrace)
		}
		sealed(t, l, Spec{ID: "old"}, 1)
		enter(t, client, l.indexKey(), "old", 2*sealGrace)
		enter(t, client, l.indexKey(), "coming", sealGrace/2)
		// Where entries go while they are walked over, an embedded server skips
		// some: the walk begins anew, as the sweeper's does.
		cursor := uint64(0)
		for step := 0; client.ZCard(t.Context(), l.indexKey()).Val() > 2 || cursor != 0; step++ {
			var err error
			if cursor, err = l.Trim(t.Context(), cursor); err != nil || step > jobs {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if left := members(t, client, l.indexKey()); !slices.Equal(left, []string{"old", "coming"}) {
			t.Errorf("left: %v", left)
		}
	})
}

func TestJobs(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		list := func(during func(read int)) []string {
			var ids []string
			for job, err := range l.Jobs(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, job.ID)
				during(len(ids))
			}
			return ids
		}
		const jobs = 230
		var want []string
		for i := range jobs {
			id := fmt.Sprintf("job%03d", i)
			client.HSet(t.Context(), l.keys(id).job, "state", "running")
			enter(t, client, l.indexKey(), id, time.Duration(i/3)*time.Minute) // some at the same time
			want = append(want, id)
		}
		got := list(func(int) {})
		if len(got) != jobs || !slices.IsSortedFunc(got, func(a, b string) int { return (number(a) / 3) - (number(b) / 3) }) {
			t.Errorf("not the newest first: %v", got)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		// Jobs that come and go while others are listed.
		got = list(func(read int) {
			if read == 100 {
				for i := range 5 {
					sealed(t, l, Spec{ID: fmt.Sprintf("new%d", i)}, 1)
				}
			}
			if read == 200 {
				for i := range 9 {
					client.ZRem(t.Context(), l.indexKey(), fmt.Sprintf("job%03d", i))
				}
			}
		})
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("while jobs come and go: %s", diff)
		}

		// All of the same moment; one has no record any more.
		for _, id := range want {
			client.ZAdd(t.Context(), l.indexKey(), redis.Z{Score: 1.7e12, Member: id})
		}
		client.Del(t.Context(), l.keys("job100").job)
		got = list(func(int) {})
		if slices.Contains(got, "job100") {
			t.Error("a job without a record is listed")
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != jobs+5-1 {
			t.Errorf("%d jobs, want %d", n, jobs+5-1)
		}
		for job, err := range l.Jobs(t.Context(), "") {
			if err != nil || job.ID == "" {
				t.Errorf("the first of them: %+v, %v", job, err)
			}
			break
		}
	})
}

func number(id string) (n int) {
	_, _ = fmt.Sscanf(id, "job%d", &n)
	return n
}

func TestStart(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		start := func(id string) bool {
			t.Helper()
			return must[bool](t)(l.Start(t.Context(), id))
		}
		sealed(t, l, Spec{ID: "later", SendAt: serverTime(t, client).Add(time.Hour)}, 1)
		sealed(t, l, Spec{ID: "running"}, 1)
		for _, id := range []string{"later", "running", "no such job"} {
			before := dump(t, client)
			if start(id) {
				t.Errorf("%s has started", id)
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Errorf("%s: %s", id, diff)
			}
		}
		soon := serverTime(t, client).Add(30 * time.Millisecond).Truncate(time.Millisecond)
		sealed(t, l, Spec{ID: "soon", SendAt: soon}, 1)
		eventually(t, "the job starts", func() bool { return start("soon") })
		if now := serverTime(t, client); now.Before(soon) {
			t.Errorf("it started before %v, at %v", soon, now)
		}
		if start("soon") || read(t, l, "soon").State != StateRunning {
			t.Errorf("state %s", read(t, l, "soon").State)
		}
	})
}

func TestBeat(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		short := func(c *Config) { c.OwnerTTL = 200 * time.Millisecond }
		a, b, reader := newLedger(t, client, short), newLedger(t, client, short), newLedger(t, client, short)
		if a.Owner() == b.Owner() || a.OwnerTTL() != 200*time.Millisecond {
			t.Errorf("owners %s, %s, for %v", a.Owner(), b.Owner(), a.OwnerTTL())
		}
		beat := func(l *Ledger) []string {
			t.Helper()
			return must[[]string](t)(l.Beat(t.Context()))
		}
		before := serverTime(t, client).Truncate(time.Millisecond) // as exact as beats are
		if a.Leased() {
			t.Error("leased before the first beat")
		}
		beat(a)
		if patient := newLedger(t, client); patient.Leased() || len(beat(patient)) == 0 || !patient.Leased() {
			t.Error("leased is who has beaten, and nobody else")
		}
		eventually(t, "the silent owner is gone", func() bool {
			alive := beat(b)
			if !slices.Contains(alive, b.Owner()) {
				t.Error("an owner that has just beaten is gone")
			}
			return !slices.Contains(alive, a.Owner())
		})
		if waited := serverTime(t, client).Sub(before); waited < 200*time.Millisecond || a.Leased() {
			t.Errorf("gone after %v, leased: %v", waited, a.Leased())
		}
		patient := newLedger(t, client) // it lets owners be silent for a minute
		beat(a)
		if alive := must[[]string](t)(patient.Alive(t.Context())); !slices.Contains(alive, a.Owner()) || slices.Contains(alive, patient.Owner()) {
			t.Errorf("alive: %v", alive)
		}
		if err := a.Bury(t.Context()); err != nil {
			t.Fatal(err)
		}
		if alive := must[[]string](t)(patient.Alive(t.Context())); slices.Contains(alive, a.Owner()) {
			t.Errorf("buried, but alive: %v", alive)
		}
		eventually(t, "nobody is left", func() bool {
			return len(must[[]string](t)(reader.Alive(t.Context()))) == 0
		})
	})
}

func TestTryLock(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		a, b := newLedger(t, client), newLedger(t, client)
		try := func(l *Ledger, name string, ttl time.Duration) bool {
			t.Helper()
			return must[bool](t)(l.TryLock(t.Context(), name, ttl))
		}
		if !try(a, "x", time.Hour) || try(b, "x", time.Hour) || try(a, "x", time.Hour) {
			t.Error("a lock has not one holder")
		}
		if !try(b, "y", 20*time.Millisecond) {
			t.Error("one lock bars another")
		}
		eventually(t, "the lock lapses", func() bool { return try(a, "y", time.Hour) })
	})
}

func TestNamespace(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		other := newLedger(t, client, func(c *Config) { c.Namespace = "other" })
		for _, tt := range []struct {
			l         *Ledger
			app, want string
		}{{l, "org/a", "org/a"}, {l, "org/b", "org/a"}, {other, "org/b", "org/b"}, {l, "org/a", "org/a"}} {
			if bound := must[string](t)(tt.l.Bind(t.Context(), tt.app)); bound != tt.want {
				t.Errorf("%s: bound to %s, want %s", tt.app, bound, tt.want)
			}
		}
		if limits, _, err := l.Limits(t.Context()); limits != nil || err != nil {
			t.Errorf("limits before any: %q, %v", limits, err)
		}
		for _, text := range []string{`{"a":1}`, `{}`} {
			if err := l.PublishLimits(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
			if limits, _, err := l.Limits(t.Context()); string(limits) != text || err != nil {
				t.Errorf("limits %q, %v", limits, err)
			}
		}
		if err := l.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		sealed(t, l, Spec{}, 1)
		for key := range dump(t, client) {
			if key[:5] != "test:" && key[:6] != "other:" {
				t.Errorf("key %s stands outside of its namespace", key)
			}
		}
	})
}
