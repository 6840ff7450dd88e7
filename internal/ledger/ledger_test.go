package ledger

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "40") // each asks Redis some hundred times; the command line wins
	goleak.VerifyTestMain(m)
}

// onEach runs a test on a real Redis and on the embedded one, each its own.
func onEach(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t).Client())
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		conn, err := redisconn.Open("embedded:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		test(t, conn.Client)
	})
}

// newLedger is a ledger whose times tests can tell apart, changed by change.
func newLedger(t testing.TB, client redis.UniversalClient, change ...func(*Config)) *Ledger {
	t.Helper()
	cfg := Config{Namespace: "test", Retention: time.Hour, UrgentRetention: time.Minute, LoadingTimeout: time.Hour, OwnerTTL: time.Minute}
	for _, c := range change {
		c(&cfg)
	}
	l, err := New(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// must takes a result whose error would end the test.
func must[T any](t testing.TB) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("never: %s", what)
		}
	}
}

// lines are count targets from u<from> on.
func lines(from, count int) []byte {
	var b bytes.Buffer
	for i := range count {
		fmt.Fprintf(&b, "u%d\n", from+i)
	}
	return b.Bytes()
}

// loaded is a load of segments with these numbers of targets, not sealed yet.
func loaded(t testing.TB, l *Ledger, spec Spec, counts ...int) *Load {
	t.Helper()
	load := l.NewLoad(spec)
	for _, count := range counts {
		if err := load.Add(t.Context(), lines(load.Total(), count), count); err != nil {
			t.Fatal(err)
		}
	}
	return load
}

// sealed is a job of segments with these numbers of targets.
func sealed(t testing.TB, l *Ledger, spec Spec, counts ...int) Job {
	t.Helper()
	if spec.ID == "" {
		spec.ID = "j"
	}
	if created, err := loaded(t, l, spec, counts...).Seal(t.Context()); !created || err != nil {
		t.Fatalf("seal: %v, %v", created, err)
	}
	return read(t, l, spec.ID)
}

func read(t testing.TB, l *Ledger, id string) Job {
	t.Helper()
	return must[Job](t)(l.Job(t.Context(), id))
}

// claimed is the next segment of a job, which has to be there.
func claimed(t testing.TB, l *Ledger, job Job) *Segment {
	t.Helper()
	s, state, err := l.Claim(t.Context(), job, l.Token())
	if err != nil || s == nil {
		t.Fatalf("claim: %v, state %q, %v", s, state, err)
	}
	return s
}

func commit(t testing.TB, s *Segment, updates ...Update) State {
	t.Helper()
	return must[State](t)(s.Commit(t.Context(), Tally{}, updates...))
}

func release(t testing.TB, s *Segment) {
	t.Helper()
	if err := s.Release(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}

// to is what became of targets at their first attempt.
func to(c Code, index ...int32) Update { return Update{Index: index, Code: c, Attempts: 1} }

// pending are the targets of a segment that are still to be dealt with.
func pending(s *Segment) map[int32]Code {
	codes := map[int32]Code{}
	s.Pending(func(i int32, c Code, _ Try) { codes[i] = c })
	return codes
}

// rows reads all rows of a job.
func rows(t testing.TB, l *Ledger, id string) []Row {
	t.Helper()
	var all []Row
	for row, err := range l.Rows(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

// dump is all that Redis holds, and which of it will expire.
func dump(t testing.TB, client redis.UniversalClient) map[string]any {
	t.Helper()
	ctx, all := t.Context(), map[string]any{}
	for _, key := range must[[]string](t)(client.Keys(ctx, "*").Result()) {
		switch kind := client.Type(ctx, key).Val(); kind {
		case "hash":
			all[key] = must[map[string]string](t)(client.HGetAll(ctx, key).Result())
		case "zset":
			all[key] = must[[]redis.Z](t)(client.ZRangeWithScores(ctx, key, 0, -1).Result())
		case "string":
			all[key] = must[string](t)(client.Get(ctx, key).Result())
		default:
			t.Fatalf("key %s is a %s", key, kind)
		}
		all[key+" expires"] = client.PTTL(ctx, key).Val() > 0
	}
	return all
}

func serverTime(t testing.TB, client redis.UniversalClient) time.Time {
	t.Helper()
	return must[time.Time](t)(client.Time(t.Context()).Result())
}

// checkCounts compares the counts of a job with its codes, both read at the
// same moment. It may run beside commits.
func checkCounts(ctx context.Context, l *Ledger, id string) error {
	k := l.keys(id)
	var fields *redis.MapStringStringCmd
	var out *redis.StringCmd
	if _, err := l.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		fields, out = p.HGetAll(ctx, k.job), p.GetRange(ctx, k.out, 0, -1)
		return nil
	}); err != nil {
		return err
	}
	job := parseJob(id, fields.Val())
	codes := out.Val() + fields.Val()["o"] // in one of the two places
	count, reasons := map[Outcome]int64{}, map[string]int64{}
	for _, c := range []byte(codes) {
		count[Code(c).Outcome()]++
		if reason := Code(c).Reason(); reason != "" {
			reasons[reason]++
		}
	}
	count[OutcomePending] += job.Total - int64(len(codes))
	got := map[Outcome]int64{
		OutcomePending: job.Pending, OutcomeSent: job.Sent, OutcomeFailed: job.Failed,
		OutcomeUnknown: job.Unknown, OutcomeCancelled: job.Cancelled,
	}
	sum := int64(0)
	for _, outcome := range Outcomes() {
		if sum += got[outcome]; got[outcome] != count[outcome] {
			return fmt.Errorf("%d targets are %s, the job counts %d", count[outcome], outcome, got[outcome])
		}
	}
	if sum != job.Total {
		return fmt.Errorf("the counts %v make %d, not %d", got, sum, job.Total)
	}
	if want := fmt.Sprint(reasons); fmt.Sprint(job.Reasons) != want {
		return fmt.Errorf("the reasons are %s, the job counts %v", want, job.Reasons)
	}
	for name, value := range fields.Val() {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n < 0 {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	return nil
}

// counts checks the counts of a job that rests.
func counts(t testing.TB, l *Ledger, id string) {
	t.Helper()
	if err := checkCounts(t.Context(), l, id); err != nil {
		t.Error(err)
	}
}

func TestDefaultConfig(t *testing.T) {
	want := Config{Namespace: "crier", Retention: 7 * 24 * time.Hour, UrgentRetention: 24 * time.Hour, LoadingTimeout: 24 * time.Hour, OwnerTTL: 3 * time.Second}
	if got := DefaultConfig(); got != want {
		t.Errorf("%+v", got)
	}
}

// Where Redis does not answer, every call says so, and where it comes from.
func TestErrors(t *testing.T) {
	onEach(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLedger(t, client)
		job := sealed(t, l, Spec{}, 1)
		s, load := claimed(t, l, job), loaded(t, l, Spec{ID: "k"}, 1)
		begun(t, l, Spec{ID: "l"})
		d := draft(t, l, "l")
		put(t, d, 1)
		begun(t, l, Spec{ID: "m"})
		adding := draft(t, l, "m")
		put(t, adding, 1)
		add(t, adding, 1)
		before := dump(t, client)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func() error{
			"Job":           func() error { _, err := l.Job(ctx, "j"); return err },
			"Document":      func() error { _, err := l.Document(ctx, "j"); return err },
			"Rows":          func() error { return firstError(l.Rows(ctx, "j")) },
			"Claim":         func() error { _, _, err := l.Claim(ctx, job, l.Token()); return err },
			"Add":           func() error { return load.Add(ctx, lines(0, 1), 1) },
			"Seal":          func() error { _, err := load.Seal(ctx); return err },
			"Abort":         func() error { return load.Abort(ctx) },
			"Release":       func() error { return s.Release(ctx, 0) },
			"Late":          func() error { _, err := s.Late(ctx, []int32{0}, 1); return err },
			"Free":          func() error { _, err := l.Free(ctx, "j", s.Name, s.claim); return err },
			"Active":        func() error { _, _, err := l.Active(ctx); return err },
			"Ended":         func() error { _, err := l.Ended(ctx, "j"); return err },
			"Pause":         func() error { _, err := l.Pause(ctx, "j"); return err },
			"Resume":        func() error { _, err := l.Resume(ctx, "j"); return err },
			"Cancel":        func() error { _, err := l.Cancel(ctx, "j"); return err },
			"Settle":        func() error { _, err := l.Settle(ctx, "j"); return err },
			"Progress":      func() error { _, err := l.Progress(ctx, "j"); return err },
			"StatesOf":      func() error { _, err := l.StatesOf(ctx, []string{"j"}); return err },
			"Retention":     func() error { return l.PublishRetention(ctx) },
			"Start":         func() error { _, err := l.Start(ctx, "j"); return err },
			"NoteTokens":    func() error { return l.NoteTokens(ctx, "j", time.Now()) },
			"Trim":          func() error { _, err := l.Trim(ctx, 0); return err },
			"Beat":          func() error { _, err := l.Beat(ctx); return err },
			"Alive":         func() error { _, err := l.Alive(ctx); return err },
			"Bury":          func() error { return l.Bury(ctx) },
			"TryLock":       func() error { _, err := l.TryLock(ctx, "x", time.Hour); return err },
			"Bind":          func() error { _, err := l.Bind(ctx, "org/app"); return err },
			"PublishLimits": func() error { return l.PublishLimits(ctx, nil) },
			"Limits":        func() error { _, _, err := l.Limits(ctx); return err },
			"Learn":         func() error { return l.Learn(ctx, Lesson{}) },
			"Jobs":          func() error { return firstError(l.Jobs(ctx, "")) },
			"Begin":         func() error { _, err := l.Begin(ctx, Spec{ID: "n"}); return err },
			"Draft":         func() error { _, err := l.Draft(ctx, "j", 0); return err },
			"Draft.Stored":  func() error { return firstError(d.Stored(ctx)) },
			"Draft.Last":    func() error { _, _, err := d.Last(ctx); return err },
			"Draft.Add":     func() error { return adding.Add(ctx, lines(2, 1), 1) },
			"Draft.Commit":  func() error { _, err := adding.Commit(ctx); return err },
			"Draft.Start":   func() error { _, err := d.Start(ctx); return err },
			"Commit":        func() error { _, err := s.Commit(ctx, Tally{}, to(Sent, 0)); return err },
		} {
			if err := call(); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "ledger: ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if diff := cmp.Diff(before, dump(t, client)); diff != "" {
			t.Error(diff)
		}
	})
}

func firstError[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		return err
	}
	return nil
}
