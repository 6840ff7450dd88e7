package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/redistest"
)

// begun is a job that is loading.
func begun(t testing.TB, l *Ledger, spec Spec) Job {
	t.Helper()
	if spec.ID == "" {
		spec.ID = "j"
	}
	if created, err := l.Begin(t.Context(), spec); !created || err != nil {
		t.Fatalf("begin: %v, %v", created, err)
	}
	return read(t, l, spec.ID)
}

// draft takes the right to add, until the end of the test.
func draft(t testing.TB, l *Ledger, id string) *Draft {
	t.Helper()
	d := must[*Draft](t)(l.Draft(t.Context(), id, 0))
	t.Cleanup(func() {
		if err := d.Close(t.Context()); err != nil && l.Ping(t.Context()) == nil {
			t.Error(err)
		}
	})
	return d
}

// add adds segments with these numbers of targets, behind what Last returns.
func add(t testing.TB, d *Draft, counts ...int) {
	t.Helper()
	if err := tryAdd(t.Context(), d, counts...); err != nil {
		t.Fatal(err)
	}
}

func tryAdd(ctx context.Context, d *Draft, counts ...int) error {
	last, count, err := d.Last(ctx)
	for i, from := 0, int(d.total); i < len(counts) && err == nil; i++ {
		err = d.Add(ctx, append(bytes.Clone(last), lines(from, counts[i])...), count+counts[i])
		last, count, from = nil, 0, from+counts[i]
	}
	return err
}

// put adds and commits.
func put(t testing.TB, d *Draft, counts ...int) {
	t.Helper()
	if err := tryPut(t.Context(), d, counts...); err != nil {
		t.Fatal(err)
	}
}

func tryPut(ctx context.Context, d *Draft, counts ...int) error {
	if err := tryAdd(ctx, d, counts...); err != nil {
		return err
	}
	want := d.total
	for _, n := range counts {
		want += int64(n)
	}
	total, err := d.Commit(ctx)
	if err == nil && total != want {
		err = fmt.Errorf("%d targets, want %d", total, want)
	}
	return err
}

func closed(t testing.TB, d *Draft) {
	t.Helper()
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// listed is all that a draft tells of the list.
func listed(t testing.TB, d *Draft) (all []byte) {
	t.Helper()
	for segment, err := range d.Stored(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, segment...)
	}
	return all
}

// whole checks that the record of a job holds the targets u0 to u<total-1>, in
// segments that are all there, and nothing else.
func whole(t testing.TB, l *Ledger, id string, total int) {
	t.Helper()
	job := read(t, l, id)
	if job.Total != int64(total) || job.Pending != int64(total) {
		t.Errorf("%d targets, %d pending, want %d", job.Total, job.Pending, total)
	}
	got := rows(t, l, id)
	if len(got) != total {
		t.Errorf("%d rows, want %d", len(got), total)
	}
	for i, row := range got {
		if want := (Row{Target: fmt.Sprintf("u%d", i), Outcome: OutcomePending}); row != want {
			t.Fatalf("row %d: %+v", i, row)
		}
	}
	k := l.keys(id)
	free := must[[]redis.Z](t)(l.client.ZRangeWithScores(t.Context(), k.free, 0, -1).Result())
	base := 0
	for i, z := range free {
		number, at, count, err := parseSegmentName(z.Member.(string))
		if err != nil || number != i || at != base || z.Score != float64(i) {
			t.Errorf("segment %d from target %d is %v, %v", i, base, z, err)
		}
		base += count
	}
	if names := must[int64](t)(l.client.HLen(t.Context(), k.names).Result()); int(names) != len(free) || base != total {
		t.Errorf("%d segments of %d targets, %d with names", len(free), base, names)
	}
	counts(t, l, id)
}

func TestBegin(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		spec := Spec{
			ID: "j", Name: "Spring", TargetType: "chatgroups", Urgent: true, Weight: 3, Hold: true, MaxRate: 7,
			SendAt: time.UnixMilli(9_000_000_000_000).UTC(), ExpiresAt: time.UnixMilli(9_000_000_000_001).UTC(),
			ResendOf: "winter", Document: []byte(`{"msg":{}}`),
		}
		before := serverTime(t, client).Truncate(time.Millisecond)
		job := begun(t, l, spec)
		want := Job{Spec: spec, State: StateLoading, Created: job.Created, IdleUntil: job.Created.Add(time.Hour), Reasons: map[string]int64{}}
		want.Document = nil
		if diff := cmp.Diff(want, job); diff != "" {
			t.Error(diff)
		}
		if job.Created.Before(before) || job.Created.After(serverTime(t, client)) {
			t.Errorf("created at %v", job.Created)
		}
		if document := must[[]byte](t)(l.Document(t.Context(), "j")); string(document) != string(spec.Document) {
			t.Errorf("document %q", document)
		}
		whole(t, l, "j", 0)
		if active := active(t, l); len(active) != 1 || active[0].Due != 0 {
			t.Errorf("active: %+v", active)
		}
		other := spec
		other.Document = []byte("other")
		again := func(name string) {
			t.Helper()
			before := dump(t, client)
			if created, err := l.Begin(t.Context(), spec); created || err != nil {
				t.Errorf("%s: the same: %v, %v", name, created, err)
			}
			if created, err := l.Begin(t.Context(), other); created || !errors.Is(err, ErrConflict) {
				t.Errorf("%s: another one: %v, %v", name, created, err)
			}
			if created, err := loaded(t, l, spec, 2, 2).Seal(t.Context()); created || !errors.Is(err, ErrConflict) {
				t.Errorf("%s: a whole one: %v, %v", name, created, err)
			}
			if diff := cmp.Diff(before, dump(t, client)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		again("empty")
		d := draft(t, l, "j")
		put(t, d, 2, 1)
		closed(t, d)
		again("with targets")
		d = draft(t, l, "j")
		must[State](t)(d.Start(t.Context()))
		closed(t, d)
		again("started")
		must[Change](t)(l.Cancel(t.Context(), "j"))
		must[Settled](t)(l.Settle(t.Context(), "j"))
		if created, err := l.Begin(t.Context(), spec); created || err != nil {
			t.Errorf("ended: %v, %v", created, err)
		}
		sealed(t, l, Spec{ID: "whole", Document: spec.Document}, 1)
		spec.ID = "whole"
		if created, err := l.Begin(t.Context(), spec); created || !errors.Is(err, ErrConflict) {
			t.Errorf("of a whole job: %v, %v", created, err)
		}
	})
}

// What was added in several requests is what a Load of the same list makes.
func TestDraftIsALoad(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		spec := Spec{ID: "j", TargetType: "users", Document: []byte("doc")}
		begun(t, l, spec)
		total, version := 0, ""
		for _, counts := range [][]int{{1}, {2}, {}, {3, 4, 5}, {1}, {6, 1}} {
			d := draft(t, l, "j")
			if version != "" && d.Version() != version {
				t.Errorf("the version of %d targets has changed by itself", total)
			}
			if d.Job().Total != int64(total) || string(listed(t, d)) != string(lines(0, total)) {
				t.Errorf("of %d targets stored: %d, %q", total, d.Job().Total, listed(t, d))
			}
			version = d.Version()
			put(t, d, counts...)
			if (d.Version() != version) != (len(counts) > 0) {
				t.Errorf("%d segments, the version was %s, is %s", len(counts), version, d.Version())
			}
			version = d.Version()
			for _, n := range counts {
				total += n
			}
			whole(t, l, "j", total)
			closed(t, d)
		}
		d := draft(t, l, "j")
		put(t, d, 9)
		put(t, d, 1, 9) // more than one in a draft
		total += 19
		if s, state, err := l.Claim(t.Context(), d.Job(), l.Token()); s != nil || state != StateLoading || err != nil {
			t.Errorf("claimed: %v, %q, %v", s, state, err)
		}
		for range 2 { // as after a reply that was lost
			if state := must[State](t)(d.Start(t.Context())); state != StateRunning {
				t.Errorf("state %q", state)
			}
		}
		closed(t, d)
		whole(t, l, "j", total)
		job := read(t, l, "j")
		if job.State != StateRunning || !job.IdleUntil.IsZero() || job.Created != d.Job().Created {
			t.Errorf("%+v", job)
		}
		before := dump(t, client)
		if created, err := loaded(t, l, spec, total).Seal(t.Context()); created || err != nil {
			t.Errorf("the same at once: %v, %v", created, err)
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Error(diff)
		}
		sealed(t, l, Spec{ID: "k", TargetType: "users", Document: []byte("doc")}, total)
		fields := func(id string) []string {
			return slices.Sorted(maps.Keys(client.HGetAll(t.Context(), l.keys(id).job).Val()))
		}
		want := append(fields("k"), "dfp", "launched") // only what Begin goes by, and when it was whole
		slices.Sort(want)
		if diff := cmp.Diff(want, fields("j")); diff != "" {
			t.Errorf("what the job consists of: %s", diff)
		}
		var refused *StateError
		if _, err := l.Draft(t.Context(), "j", time.Hour); !errors.As(err, &refused) || *refused != (StateError{"j", StateRunning, "load"}) {
			t.Errorf("draft of a running job: %v", err)
		}
	})
}

// A million targets in requests of odd sizes: each is handed out once.
func TestLargeDraft(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	l := newLedger(t, client)
	const total = 1_000_000
	begun(t, l, Spec{Document: []byte("doc")})
	var all []byte
	for at := 0; at < total; {
		d := draft(t, l, "j")
		last, count, err := d.Last(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = bytes.Clone(last)
		for left := min(1+at*7/3, total-at); left > 0; {
			n := min(left, 10_007-min(count, 10_006))
			fresh := lines(at, n)
			all = append(all, fresh...)
			if err := d.Add(t.Context(), append(last, fresh...), count+n); err != nil {
				t.Fatal(err)
			}
			last, count, at, left = nil, 0, at+n, left-n
		}
		if got := must[int64](t)(d.Commit(t.Context())); got != int64(at) {
			t.Fatalf("%d targets, want %d", got, at)
		}
		closed(t, d)
	}
	d := draft(t, l, "j")
	must[State](t)(d.Start(t.Context()))
	closed(t, d)
	doc := sha256.Sum256([]byte("doc"))
	want := sha256.Sum256(append(doc[:], all...))
	if fp := must[string](t)(client.HGet(t.Context(), l.keys("j").job, "fp").Result()); fp != string(want[:16]) {
		t.Errorf("fingerprint %x, want %x", fp, want[:16])
	}
	job, segments := read(t, l, "j"), 0
	for ; len(all) > 0; segments++ {
		s := claimed(t, l, job)
		if !bytes.HasPrefix(all, s.Lines) {
			t.Fatalf("segment %s does not follow", s.Name)
		}
		all = all[len(s.Lines):]
	}
	if s, _, err := l.Claim(t.Context(), job, l.Token()); s != nil || err != nil {
		t.Errorf("one more: %v, %v", s, err)
	}
	if segments > total/10_000+20 {
		t.Errorf("%d segments", segments)
	}
}
