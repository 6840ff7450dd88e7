package test

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// world is one installation: a Redis, a Chat API, and the variables by which
// programs know them.
type world struct {
	t     *testing.T
	redis *redistest.Server
	sim   *chatsim.Server
	vars  []string
}

// newWorld starts a Redis and a simulated Chat API. Each change alters how the
// API behaves; without one it takes whatever the vendor's page allows.
func newWorld(t *testing.T, changes ...func(*chatsim.Config)) *world {
	t.Helper()
	return newWorldOn(t, redistest.Start(t), changes...)
}

// newWorldOn is a world with a Redis of the test's choice.
func newWorldOn(t *testing.T, redis *redistest.Server, changes ...func(*chatsim.Config)) *world {
	t.Helper()
	w := &world{t: t, redis: redis}
	var url string
	w.sim, url = startSim(t, changes...)
	app := chatsim.DefaultConfig()
	w.vars = []string{
		"REDIS_URL=" + w.redis.URL, "CHAT_URL=" + url, "CHAT_ORG=" + app.Org, "CHAT_APP=" + app.App, "CHAT_TOKEN=" + app.Token,
		"ADMIN_ADDR=127.0.0.1:0",
	}
	return w
}

func startSim(t *testing.T, changes ...func(*chatsim.Config)) (sim *chatsim.Server, url string) {
	t.Helper()
	cfg := chatsim.DefaultConfig()
	for _, change := range changes {
		change(&cfg)
	}
	sim, err := chatsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	if url, err = sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim, url
}

// with is the same installation with further variables, which win.
func (w *world) with(vars ...string) *world {
	other := *w
	other.vars = append(append([]string{}, w.vars...), vars...)
	return &other
}

// in is the same installation for a subtest.
func (w *world) in(t *testing.T) *world {
	other := *w
	other.t = t
	return &other
}

// startWorker starts a worker without waiting for anything.
func (w *world) startWorker() *process {
	w.t.Helper()
	return command{program: "worker", env: w.vars}.start(w.t)
}

// worker starts a worker and waits until it is ready.
func (w *world) worker() *process {
	w.t.Helper()
	p := w.startWorker()
	url := p.admin(w.t)
	eventually(w.t, "the worker gets ready", func() bool {
		status, _ := get(w.t, url+"/readyz")
		return status == 200
	})
	return p
}

// stop ends a worker in order.
func (w *world) stop(p *process) {
	w.t.Helper()
	p.signal(w.t, syscall.SIGTERM)
	if got := p.result(w.t); got.code != 0 {
		w.t.Errorf("the worker ended with code %d after SIGTERM", got.code)
	}
}

func (w *world) enqueue(args ...string) result {
	w.t.Helper()
	return command{program: "enqueue", env: w.vars}.run(w.t, args...)
}

func (w *world) enqueueWith(stdin string, args ...string) result {
	w.t.Helper()
	return command{program: "enqueue", env: w.vars, stdin: strings.NewReader(stdin)}.run(w.t, args...)
}

// send makes a job and returns its id.
func (w *world) send(args ...string) string { w.t.Helper(); return w.sendWith("", args...) }

func (w *world) sendWith(stdin string, args ...string) string {
	w.t.Helper()
	got := w.enqueueWith(stdin, append([]string{"send"}, args...)...)
	if got.code != 0 {
		w.t.Fatalf("send %q: exit %d\n%s", args, got.code, got.err)
	}
	return strings.TrimSuffix(got.out, "\n")
}

// status is a job's status document, as far as tests look at single fields.
type status struct {
	ID, State                                                          string
	Total, Pending, Sent, Failed, Unknown, Cancelled, Calls, Throttled int
	Resent                                                             int
	Reasons                                                            map[string]int
	CreatedAt                                                          time.Time  `json:"created_at"`
	StartedAt                                                          *time.Time `json:"started_at"`
	FinishedAt                                                         *time.Time `json:"finished_at"`
}

func (w *world) status(id string) status {
	w.t.Helper()
	return decode[status](w.t, w.succeed("status", id, "--json"))
}

// wait waits for a job's end and returns its status, which must add up.
func (w *world) wait(id string, code int) status {
	w.t.Helper()
	got := w.enqueue("wait", id, "--json")
	if got.code != code {
		w.t.Errorf("wait %s: exit %d, want %d\n%s", id, got.code, code, got.err)
	}
	s := decode[status](w.t, got.out)
	if s.Pending != 0 || s.Total != s.Sent+s.Failed+s.Unknown+s.Cancelled {
		w.t.Errorf("the counts of a finished job do not add up: %+v", s)
	}
	return s
}

// succeed runs a command that must not fail and returns its standard output.
func (w *world) succeed(args ...string) string {
	w.t.Helper()
	got := w.enqueue(args...)
	if got.code != 0 {
		w.t.Fatalf("%q: exit %d\n%s", args, got.code, got.err)
	}
	return got.out
}

// row is a line of results.
type row struct {
	Target, Outcome, Reason, Detail string
	Attempts                        int
	MessageID                       string `json:"message_id"`
	At                              string
}

// rows lists what became of each target, by its name.
func (w *world) rows(id string, args ...string) map[string]row {
	w.t.Helper()
	text := w.succeed(append([]string{"results", id, "--format", "ndjson"}, args...)...)
	rows := map[string]row{}
	for line := range strings.Lines(text) {
		r := decode[row](w.t, line)
		if _, twice := rows[r.Target]; twice {
			w.t.Errorf("results list %s twice", r.Target)
		}
		rows[r.Target] = r
	}
	return rows
}

// journal is how often each name was delivered to.
func (w *world) journal(kind chatsim.TargetType) map[string]int {
	names := map[string]int{}
	for key, count := range w.sim.Journal() {
		if key.TargetType == kind {
			names[key.Target] = count
		}
	}
	return names
}

// stored is the number of keys in Redis.
func (w *world) stored() int64 {
	w.t.Helper()
	n, err := w.redis.Client().DBSize(w.t.Context()).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// keysOf lists the keys of a job.
func (w *world) keysOf(id string) []string {
	w.t.Helper()
	keys, err := w.redis.Client().Keys(w.t.Context(), "*"+id+"*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// once is the journal of a delivery to each of the names, exactly once.
func once(names ...string) map[string]int {
	counts := make(map[string]int, len(names))
	for _, name := range names {
		counts[name] = 1
	}
	return counts
}

// decode reads one JSON document and nothing behind it.
func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

func encode(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
