package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/chatsim"
	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redistest"
	"crier/internal/targets"
)

// rig is a Redis, a simulated API and what a submitter needs.
type rig struct {
	t     *testing.T
	redis *redistest.Server
	sim   *chatsim.Server
	url   string
	book  *ledger.Ledger // of the submitter: it claims nothing
	gate  *gate.Gate
	cfg   Config
	quota gate.Quotas
}

// newRig lets its test run beside others: most of them wait for time to pass.
func newRig(t *testing.T, change func(*chatsim.Config)) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, redis: redistest.Start(t), cfg: DefaultConfig()}
	config := chatsim.DefaultConfig()
	if change != nil {
		change(&config)
	}
	var err error
	if r.sim, err = chatsim.New(config); err != nil {
		t.Fatal(err)
	}
	if r.url, err = r.sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.sim.Close)
	r.book = r.ledger()
	r.gate = gate.New(r.redis.Client(), unpaced())
	r.cfg.App = config.Org + "/" + config.App
	r.cfg.ShutdownTimeout = 5 * time.Second
	return r
}

func (r *rig) ledger() *ledger.Ledger {
	r.t.Helper()
	book, err := ledger.New(r.redis.Client(), ledger.DefaultConfig())
	if err != nil {
		r.t.Fatal(err)
	}
	return book
}

// start runs a worker until stop is called, or the test ends.
func (r *rig) start() (w *Worker, registry *prometheus.Registry, stop func()) {
	r.t.Helper()
	client, config := r.redis.Client(), chatsim.DefaultConfig()
	registry = prometheus.NewRegistry()
	gates := unpaced()
	gates.Quotas = r.quota
	gates.Margin = 250 * time.Millisecond // calls may be held up on their way for long on a machine full of tests
	metrics := NewMetrics(registry, apiclient.FormUnified)
	c := apiclient.DefaultConfig()
	c.BaseURL, c.Org, c.App, c.Tokens, c.Observe = r.url, config.Org, config.App, apiclient.FixedToken(config.Token), metrics.Observe
	chat, err := apiclient.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	w = NewWorker(r.cfg, Parts{
		Redis: client, RedisUptime: time.Hour, Ledger: r.ledger(), Gate: gate.New(client, gates), Metrics: metrics, Client: chat,
		Log: slog.New(slog.NewTextHandler(logWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(r.t.Context())
	if err := w.Prepare(ctx); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the worker ended with %v", err)
		}
		ended <- nil
	}
	r.t.Cleanup(stop)
	return w, registry, stop
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *rig) submit(document string, names Names) Submitted {
	r.t.Helper()
	done, err := r.trySubmit(document, names)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *rig) trySubmit(document string, names Names) (Submitted, error) {
	d, err := ParseDocument([]byte(document))
	if err != nil {
		return Submitted{}, err
	}
	s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace)}
	return s.Submit(r.t.Context(), Submission{Document: d, Names: names})
}

// numbered is a list of n names.
func (r *rig) numbered(n int) Names {
	r.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "customer-%06d\n", i)
	}
	reader, err := targets.NewReader(strings.NewReader(b.String()), targets.Text, targets.Options{Kind: targets.Users})
	if err != nil {
		r.t.Fatal(err)
	}
	return reader
}

// await polls until a job is as wanted.
func (r *rig) await(id string, want func(Status) bool) Status {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(40 * time.Second)
	for {
		s, err := ReadStatus(r.t.Context(), r.book, r.gate, id)
		if err != nil {
			r.t.Fatal(err)
		}
		if got := s.Pending + s.Sent + s.Failed + s.Unknown + s.Cancelled; got != s.Total {
			r.t.Fatalf("the counts add up to %d of %d: %+v", got, s.Total, s)
		}
		if want(s) {
			return s
		}
		select {
		case <-deadline:
			r.t.Fatalf("job %s stands at %+v", id, s)
		case <-tick.C:
		}
	}
}

func (r *rig) finished(id string) Status {
	r.t.Helper()
	return r.await(id, func(s Status) bool { return s.State.Ended() && s.Pending == 0 })
}

const hello = `"target_type":"users","msg":{"type":"txt","msg":"hello"}`

// checkTruth compares every row of a job with what the API has accepted.
func (r *rig) checkTruth(id string) (again int64) {
	r.t.Helper()
	for row, err := range r.book.Rows(r.t.Context(), id) {
		if err != nil {
			r.t.Fatal(err)
		}
		n := r.sim.Delivered(chatsim.Users, row.Target)
		if row.Outcome == ledger.OutcomeSent && n == 0 || row.Outcome == ledger.OutcomeFailed && n > 0 {
			r.t.Errorf("%s is %s and was accepted %d times", row.Target, row.Outcome, n)
		}
		again += int64(max(n-1, 0))
	}
	return again
}

func TestDeliverOnceInTheFewestCalls(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	done := r.submit(`{"id":"j1",`+hello+`}`, r.numbered(25_000))
	if !done.Created || done.Total != 25_000 {
		t.Fatalf("submitted: %+v", done)
	}
	s := r.finished("j1")
	if s.Sent != 25_000 || s.Resent != 0 || s.FinishedAt == nil || s.StartedAt == nil {
		t.Errorf("status: %+v", s)
	}
	if again := r.checkTruth("j1"); again != 0 {
		t.Errorf("%d deliveries too many", again)
	}
	// 5,120 bytes less the 73 of the envelope hold 280 names of 15 bytes.
	fewest := int64((25_000 + 279) / 280)
	if s.Calls < fewest || s.Calls > fewest+3 { // each of three segments may end with a smaller batch
		t.Errorf("%d calls, fewest possible %d", s.Calls, fewest)
	}
	if stats := r.sim.Stats(); stats.LargestBody > 5120 {
		t.Errorf("a body of %d bytes", stats.LargestBody)
	}
}

func TestFaultsEndInTheTruth(t *testing.T) {
	faults, err := chatsim.ParseFaults("throttle=3,unavailable=4,html=2,reset=2,error=2,reset_after=3,truncated=2")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *chatsim.Config) {
		c.Faults, c.Seed = faults, 3
		c.Refused = []string{"customer-000007", "customer-000500"}
		c.Poison = []string{"customer-001234"}
	})
	_, registry, _ := r.start()
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(12_000))
	s := r.finished("j1")
	if s.Failed != 3 || s.Sent != 11_997 || s.Reasons["rejected"] != 3 {
		t.Errorf("status: %+v", s)
	}
	if again := r.checkTruth("j1"); again > s.Resent {
		t.Errorf("%d deliveries came twice, %d are counted as resent", again, s.Resent)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			total[family.GetName()] += m.GetCounter().GetValue()
		}
	}
	if total["crier_targets_total"] != 12_000 || total["crier_resent_targets_total"] != float64(s.Resent) ||
		total["crier_batches_total"] != float64(s.Calls) || total["crier_throttled_total"] != float64(s.Throttled) {
		t.Errorf("metrics %v against status %+v", total, s)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics lint: %v %v", problems, err)
	}
}

func TestHoldNeverSendsTwice(t *testing.T) {
	faults, err := chatsim.ParseFaults("reset_after=15,unavailable=15")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *chatsim.Config) { c.Faults, c.Seed = faults, 5 })
	r.start()
	r.submit(`{"id":"j1","options":{"on_unknown":"hold"},`+hello+`}`, r.numbered(10_000))
	s := r.finished("j1")
	if s.Unknown == 0 || s.Sent+s.Unknown != 10_000 || s.Resent != 0 || s.Reasons["answer_lost"] != s.Unknown {
		t.Errorf("status: %+v", s)
	}
	if again := r.checkTruth("j1"); again != 0 {
		t.Errorf("%d deliveries came twice", again)
	}
}

// A worker that is asked to stop records its calls; the next one goes on
// without sending anything again.
func TestStopAndGoOn(t *testing.T) {
	r := newRig(t, func(c *chatsim.Config) { c.Latency = 50 * time.Millisecond })
	r.cfg.Concurrency = 4
	_, _, stop := r.start()
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(20_000))
	r.await("j1", func(s Status) bool { return s.Sent > 3_000 })
	stop()
	s, err := ReadStatus(t.Context(), r.book, r.gate, "j1")
	if err != nil || s.Pending == 0 || s.Sent != r.sim.Stats().AcceptedTargets {
		t.Fatalf("stopped at %+v with %d accepted (%v)", s, r.sim.Stats().AcceptedTargets, err)
	}
	r.start()
	if s = r.finished("j1"); s.Sent != 20_000 || s.Resent != 0 {
		t.Errorf("status: %+v", s)
	}
	if again := r.checkTruth("j1"); again != 0 {
		t.Errorf("%d deliveries came twice", again)
	}
}

// Tokens are only lent slots: a job whose tokens are all lost goes on.
func TestLostTokensComeBack(t *testing.T) {
	r := newRig(t, nil)
	r.submitWithoutTokens("j1")
	r.start()
	r.finished("j1")
}

// Tokens that others are always the first to take keep no worker idle.
func TestJobIsJoinedWithoutToken(t *testing.T) {
	r := newRig(t, func(c *chatsim.Config) { c.Latency = 500 * time.Millisecond })
	if mine, err := r.book.TryLock(t.Context(), "sweeper", time.Hour); err != nil || !mine { // nobody puts any
		t.Fatal(mine, err)
	}
	r.submitWithoutTokens("j1")
	_, _, stop := r.start()
	r.await("j1", func(Status) bool { return r.sim.Stats().InFlight > 0 })
	stop() // calls in flight finish and are recorded, also those of a slot without a token
	if s := r.await("j1", func(Status) bool { return true }); s.Sent == 0 {
		t.Errorf("stopped with %+v", s)
	}
	r.start()
	r.finished("j1")
	if again := r.checkTruth("j1"); again != 0 {
		t.Errorf("%d were sent to again", again)
	}
}

// submitWithoutTokens stores a job of 1,000 targets and puts its tokens where
// nobody takes them.
func (r *rig) submitWithoutTokens(id string) {
	r.t.Helper()
	s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), "nobody-listens-here")}
	d, err := ParseDocument([]byte(`{"id":"` + id + `",` + hello + `}`))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := s.Submit(r.t.Context(), Submission{Document: d, Names: r.numbered(1000)}); err != nil {
		r.t.Fatal(err)
	}
}

// What an owner that died has left in flight may have been carried out.
func TestSegmentsOfTheDeadAreTakenOver(t *testing.T) {
	for policy, want := range map[string]Status{"resend": {Sent: 300, Resent: 100}, "hold": {Sent: 200, Unknown: 100}} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, nil)
			r.submit(`{"id":"j1","options":{"on_unknown":"`+policy+`"},`+hello+`}`, r.numbered(300))
			job, err := r.book.Job(t.Context(), "j1")
			if err != nil {
				t.Fatal(err)
			}
			dead := r.ledger() // claims, marks, and is never heard of again
			segment, _, err := dead.Claim(t.Context(), job, dead.Token())
			if err != nil || segment == nil {
				t.Fatal(segment, err)
			}
			var marked []int32
			for i := range int32(100) {
				marked = append(marked, 50+i)
			}
			if _, err := segment.Commit(t.Context(), ledger.Tally{}, ledger.Update{Index: marked, Code: ledger.InFlight}); err != nil {
				t.Fatal(err)
			}
			r.start()
			if s := r.finished("j1"); s.Sent != want.Sent || s.Unknown != want.Unknown || s.Resent != want.Resent {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

func TestHeldWorkGoesOnByItself(t *testing.T) {
	r := newRig(t, nil)
	r.sim.SetSecrets(chatsim.Secrets{Token: "another-token-than-ours"}, true)
	r.start()
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(2000))
	s := r.await("j1", func(s Status) bool { return s.Blocked != nil })
	if *s.Blocked != gate.ReasonUnauthorized || s.BlockedSince == nil || s.Failed != 0 || s.Pending != 2000 {
		t.Errorf("held: %+v", s)
	}
	r.sim.SetSecrets(chatsim.Secrets{Token: chatsim.DefaultConfig().Token}, true)
	if s = r.finished("j1"); s.Sent != 2000 || s.Blocked != nil {
		t.Errorf("status: %+v", s)
	}
}

func TestUrgentDoesNotWaitBehindBulk(t *testing.T) {
	r := newRig(t, func(c *chatsim.Config) { c.Latency = 100 * time.Millisecond })
	r.cfg.Concurrency = 1
	r.start()
	r.submit(`{"id":"bulk",`+hello+`}`, r.numbered(20_000))
	r.await("bulk", func(s Status) bool { return s.Sent > 0 })
	r.submit(`{"id":"code","target":["u1"],"options":{"priority":"urgent"},`+hello+`}`, nil)
	s := r.finished("code")
	if bulk, err := ReadStatus(t.Context(), r.book, r.gate, "bulk"); err != nil || bulk.Pending < 10_000 {
		t.Errorf("the urgent job ended after most of the bulk job: %+v (%v)", bulk, err)
	}
	if s.Sent != 1 || s.Priority != "urgent" {
		t.Errorf("status: %+v", s)
	}
	if _, err := r.book.Document(t.Context(), "code"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("the text of an urgent job is still there: %v", err)
	}
}

func TestKnownQuotaOfTheFleet(t *testing.T) {
	limits, err := chatsim.ParseQuotas("users=40/s,4000t/s@sliding")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *chatsim.Config) { c.Quotas = limits })
	if r.quota, err = gate.ParseQuotas("users=40/s,4000t/s", "users"); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.start()
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(12_000))
	if s := r.finished("j1"); s.Throttled > 0 || s.Sent != 12_000 {
		t.Errorf("status: %+v", s)
	}
	if refused := r.sim.Stats().Refused; len(refused) > 0 {
		t.Errorf("the API refused %v", refused)
	}
}

func TestJobsOwnRate(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	r.start()
	began := time.Now()
	r.submit(`{"id":"slow","options":{"max_rate":400},`+hello+`}`, r.numbered(1200))
	r.submit(`{"id":"fast",`+hello+`}`, r.numbered(5000))
	if fast := r.finished("fast"); fast.Sent != 5000 {
		t.Errorf("status: %+v", fast)
	}
	if slow := r.finished("slow"); slow.Sent != 1200 || time.Since(began) < 2*time.Second {
		t.Errorf("1,200 targets at 400 a second took %v: %+v", time.Since(began), slow)
	}
}

func TestSendAtAndExpiresAt(t *testing.T) {
	r := newRig(t, nil)
	if r.quota = (gate.Quotas{"users": {{N: 1, Window: time.Minute}}}); r.quota == nil { // one call, then none
		t.Fatal("no quota")
	}
	r.start()
	now := time.Now().Truncate(time.Millisecond) // as exact as the ledger is
	sendAt, expiresAt := now.Add(1500*time.Millisecond), now.Add(4*time.Second)
	r.submit(fmt.Sprintf(`{"id":"j1","options":{"send_at":%q,"expires_at":%q},%s}`,
		sendAt.Format(time.RFC3339Nano), expiresAt.Format(time.RFC3339Nano), hello), r.numbered(1000))
	s := r.await("j1", func(s Status) bool { return s.State != ledger.StateScheduled })
	if s.State != ledger.StateRunning || time.Now().Before(sendAt) {
		t.Errorf("%v before send_at the job is %+v", time.Until(sendAt), s)
	}
	s = r.finished("j1")
	if s.State != ledger.StateFinished || s.Sent == 0 || s.Cancelled == 0 || s.Reasons["expired"] != s.Cancelled {
		t.Errorf("status: %+v", s)
	}
	if s.FinishedAt.Before(expiresAt) {
		t.Errorf("expired %v too early", expiresAt.Sub(*s.FinishedAt))
	}
}

func TestForeignNamespaceIsRefused(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	w := NewWorker(Config{Namespace: "crier", App: "other/app", Limits: DefaultLimits(apiclient.FormUnified)}, Parts{
		Redis: r.redis.Client(), Ledger: r.ledger(), Gate: r.gate, Log: slog.New(slog.DiscardHandler),
	})
	if err := w.Prepare(t.Context()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "chat-demo/testapp") {
		t.Errorf("error %v", err)
	}
}

// What may have been delivered is not called cancelled.
func TestExpiryAfterLostAnswers(t *testing.T) {
	faults, err := chatsim.ParseFaults("reset_after=100")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *chatsim.Config) { c.Faults = faults })
	r.start()
	expiresAt := time.Now().Add(1500 * time.Millisecond)
	r.submit(fmt.Sprintf(`{"id":"j1","options":{"expires_at":%q},%s}`, expiresAt.Format(time.RFC3339Nano), hello), r.numbered(1000))
	if s := r.finished("j1"); s.Unknown != 1000 || s.Reasons["answer_lost"] != 1000 {
		t.Errorf("status: %+v", s)
	}
}

// The probe of a hold that a person has to end proves nothing by a 503.
func TestProbeThatProvesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if _, err := r.gate.Report(t.Context(), "users", false, gate.Hold{Reason: gate.ReasonPlan, Base: time.Millisecond, Max: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.SetFaults([]chatsim.Fault{{Kind: chatsim.FaultUnavailable, Percent: 100}}); err != nil {
		t.Fatal(err)
	}
	r.submit(`{"id":"j1",`+hello+`}`, r.numbered(5000))
	r.await("j1", func(s Status) bool { return s.Calls > 0 })
	s := r.await("j1", func(s Status) bool { return s.Blocked != nil && r.sim.Stats().Calls > 0 })
	if *s.Blocked != gate.ReasonPlan || s.Calls > 1 {
		t.Errorf("status: %+v", s)
	}
}

// Redis may come back from a moment at which a segment was held that its
// owner, who is alive, has released since.
func TestReleaseThatRedisForgot(t *testing.T) {
	r := newRig(t, nil)
	w, _, _ := r.start()
	r.submit(`{"id":"j1","options":{"send_at":"2099-01-01T00:00:00Z"},`+hello+`}`, r.numbered(10))
	client := r.redis.Client()
	free, err := client.ZRange(t.Context(), "crier:{j1}:free", 0, -1).Result()
	if err != nil || len(free) != 1 {
		t.Fatalf("free segments %q, %v", free, err)
	}
	_, err = client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.ZRem(t.Context(), "crier:{j1}:free", free[0])
		p.HSet(t.Context(), "crier:{j1}:held", free[0], w.ledger.Owner()+"/4711")
		p.HSet(t.Context(), "crier:{j1}:job", "state", "running")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.finished("j1"); s.Sent != 10 {
		t.Errorf("%+v", s)
	}
}
