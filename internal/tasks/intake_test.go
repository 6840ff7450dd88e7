package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/chatsim"
	"crier/internal/ledger"
)

// producer puts tasks on the raw queue, as another backend does.
type producer struct {
	*rig
	client    *asynq.Client
	inspector *asynq.Inspector
}

func newProducer(r *rig) producer {
	client := r.redis.Client()
	return producer{r, asynq.NewClientFromRedisClient(client), asynq.NewInspectorFromRedisClient(client)}
}

// enqueue returns the task's id.
func (p producer) enqueue(kind, payload string, options ...asynq.Option) string {
	p.t.Helper()
	info, err := p.client.Enqueue(asynq.NewTask(kind, []byte(payload)), append(options, asynq.Queue("crier-intake"))...)
	if err != nil {
		p.t.Fatal(err)
	}
	return info.ID
}

// until polls until the queue is as wanted.
func (p producer) until(what string, want func(*asynq.QueueInfo) bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(40 * time.Second)
	for {
		info, err := p.inspector.GetQueueInfo("crier-intake")
		if err == nil && want(info) {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("never: %s: %+v, %v", what, info, err)
		case <-tick.C:
		}
	}
}

// taken waits until nothing is left to be taken in.
func (p producer) taken() {
	p.t.Helper()
	p.until("all is taken in", func(i *asynq.QueueInfo) bool { return i.Size-i.Completed == 0 })
}

// rejected lists what is kept, by task.
func (p producer) rejected() map[string]ledger.Rejection {
	p.t.Helper()
	list := map[string]ledger.Rejection{}
	for r, err := range p.book.Rejections(p.t.Context(), true) {
		if err != nil {
			p.t.Fatal(err)
		}
		if _, twice := list[r.ID]; twice {
			p.t.Errorf("task %s is listed twice", r.ID)
		}
		list[r.ID] = r
	}
	return list
}

func (p producer) counted(registry *prometheus.Registry, accepted, repeated, rejected int) {
	p.t.Helper()
	want := fmt.Sprintf(`# HELP crier_intake_total Tasks of the raw queue by what became of them.
# TYPE crier_intake_total counter
crier_intake_total{result="accepted"} %d
crier_intake_total{result="rejected"} %d
crier_intake_total{result="repeated"} %d
`, accepted, rejected, repeated)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "crier_intake_total"); err != nil {
		p.t.Error(err)
	}
}

func sendTo(name string) string { return `{"target":["` + name + `"],` + hello + `}` }

func TestIntakeOnce(t *testing.T) {
	p := newProducer(newRig(t, nil))
	_, registry, _ := p.start()
	made := p.enqueue(intakeTask, sendTo("u1"))
	for range 3 { // a producer that is not sure, each time after the task was done
		p.enqueue(intakeTask, sendTo("u2"), asynq.TaskID("order-7"))
		p.taken()
	}
	p.enqueue(intakeTask, `{"id":"own","target":["u3"],`+hello+`}`, asynq.TaskID("not this"))
	p.taken()
	for _, id := range []string{made, "order-7", "own"} {
		if s := p.finished(id); s.Sent != 1 {
			t.Errorf("%+v", s)
		}
	}
	for _, name := range []string{"u1", "u2", "u3"} {
		if n := p.sim.Delivered(chatsim.Users, name); n != 1 {
			t.Errorf("%s got %d messages", name, n)
		}
	}
	if list := p.rejected(); len(list) > 0 {
		t.Errorf("rejected: %v", list)
	}
	p.counted(registry, 3, 2, 0)
}

func TestIntakeRejects(t *testing.T) {
	p := newProducer(newRig(t, nil))
	p.submit(`{"id":"taken","target":["u1"],`+hello+`}`, nil)
	large := `{"id":"large","target":["u1"],` + hello + strings.Repeat(" ", maxPayload) + `}`
	tests := map[string]struct{ kind, payload, want string }{
		"empty":      {intakeTask, "", "invalid JSON at line 1, column 1: "},
		"text":       {intakeTask, "hello", "invalid JSON at line 1, column 1: "},
		"array":      {intakeTask, "[]", "document: must be a JSON object"},
		"unknown":    {intakeTask, `{"target":["u1"],"colour":1,` + hello + `}`, "colour: is not a field"},
		"two-faults": {intakeTask, `{"target":["u1"],"options":{"weight":0},"colour":1,` + hello + `}`, "options.weight: must be a whole number from 1 to 10\ncolour: is not"},
		"no-target":  {intakeTask, `{` + hello + `}`, "target: is required"},
		"bad-name":   {intakeTask, `{"target":["u1","u 2"],` + hello + `}`, `target[1]: "u 2" has a space`},
		"too-long":   {intakeTask, strings.Replace(sendTo("u1"), "hello", strings.Repeat("x", 5000), 1), "msg: takes "},
		"taken":      {intakeTask, sendTo("u2"), "id: belongs to a job with other content"},
		"no job's":   {intakeTask, sendTo("u1"), `id: is not given, and the task's id "no job's" cannot be a job's`},
		"other-type": {"message:cancel", sendTo("u1"), `type: the task is a "message:cancel", this queue takes message:send`},
		"large":      {intakeTask, large, fmt.Sprintf("document: has %d bytes, at most 16777216", len(large))},
	}
	for id, tt := range tests {
		p.enqueue(tt.kind, tt.payload, asynq.TaskID(id))
	}
	p.enqueue(intakeTask, sendTo("u9"), asynq.TaskID("good"))
	_, registry, _ := p.start()
	p.taken()
	p.counted(registry, 1, 0, len(tests))
	if s := p.finished("good"); s.Sent != 1 {
		t.Errorf("what was valid: %+v", s)
	}
	list := p.rejected()
	for id, tt := range tests {
		r := list[id]
		if !strings.HasPrefix(r.Problem, tt.want) || string(r.Payload) != tt.payload || r.Type != tt.kind || r.At.IsZero() {
			t.Errorf("%s: %q at %v, %d bytes of a %s; want %q", id, r.Problem, r.At, len(r.Payload), r.Type, tt.want)
		}
	}
	if len(list) != len(tests) {
		t.Errorf("%d are kept, want %d", len(list), len(tests))
	}
	p.finished("taken")
	if n := p.sim.Delivered(chatsim.Users, "u2"); n != 0 {
		t.Errorf("what was rejected was sent to %d times", n)
	}
	// Brought again it is the same entry, counted again.
	p.enqueue(intakeTask, "hello", asynq.TaskID("text"))
	p.taken()
	if n := len(p.rejected()); n != len(tests) {
		t.Errorf("%d are kept after one was rejected again, want %d", n, len(tests))
	}
	p.counted(registry, 1, 0, len(tests)+1)
}

// Whatever a producer asks of asynq, its job is taken in, and at once.
func TestIntakeWithAnyOptions(t *testing.T) {
	p := newProducer(newRig(t, nil))
	past := asynq.Deadline(time.Now().Add(-time.Hour))
	tests := map[string][]asynq.Option{
		"no-retry":          {asynq.MaxRetry(0)},
		"short":             {asynq.Timeout(time.Second), asynq.MaxRetry(0)},
		"no-time":           {asynq.Timeout(time.Millisecond)},
		"past":              {past},
		"past-no-retry":     {past, asynq.MaxRetry(0)},
		"past-every-retry":  {past, asynq.MaxRetry(math.MaxInt32), asynq.Timeout(time.Second)},
		"long-past":         {asynq.Deadline(time.Unix(-1, 0)), asynq.MaxRetry(0)},
		"kept":              {asynq.Retention(time.Hour)},
		"unique":            {asynq.Unique(time.Hour), asynq.Timeout(time.Second)},
		"later":             {asynq.ProcessIn(time.Second), asynq.MaxRetry(0)},
		"later-than-allows": {asynq.ProcessIn(time.Second), past},
	}
	for id, options := range tests {
		p.enqueue(intakeTask, sendTo(id), append(options, asynq.TaskID(id))...)
	}
	_, registry, _ := p.start()
	p.taken()
	for id := range tests {
		if s := p.finished(id); s.Sent != 1 || p.sim.Delivered(chatsim.Users, id) != 1 {
			t.Errorf("%s: %+v", id, s)
		}
	}
	p.counted(registry, len(tests), 0, 0)
	info, err := p.inspector.GetQueueInfo("crier-intake")
	if err != nil || info.Completed != 1 || info.Failed != 0 {
		t.Errorf("of the queue: %+v, %v", info, err)
	}
	p.enqueue(intakeTask, sendTo("unique"), asynq.Unique(time.Hour)) // its lock is gone with the task
	p.taken()
}

// What asynq has archived is taken in by whoever works next, more of it than
// anybody would do one by one.
func TestIntakeFromTheArchive(t *testing.T) {
	p := newProducer(newRig(t, nil))
	const many = 300
	for i := range many {
		id := p.enqueue(intakeTask, sendTo(fmt.Sprintf("u%d", i)), asynq.TaskID(fmt.Sprint(i)), asynq.MaxRetry(0), asynq.Unique(time.Hour))
		if err := p.inspector.ArchiveTask("crier-intake", id); err != nil {
			t.Fatal(err)
		}
	}
	id := p.enqueue(intakeTask, "hello", asynq.TaskID("wrong"))
	if err := p.inspector.ArchiveTask("crier-intake", id); err != nil {
		t.Fatal(err)
	}
	p.submit(`{"id":"7","target":["u7"],`+hello+`}`, nil) // had been taken in when it was archived
	_, registry, _ := p.start()
	p.taken()
	for i := range many {
		p.finished(fmt.Sprint(i))
		if n := p.sim.Delivered(chatsim.Users, fmt.Sprintf("u%d", i)); n != 1 {
			t.Errorf("u%d got %d messages", i, n)
		}
	}
	if list := p.rejected(); len(list) != 1 || list["wrong"].Problem == "" {
		t.Errorf("rejected: %+v", list)
	}
	p.counted(registry, many-1, 1, 1)
}

// A worker died over a task that must not be retried.
func TestIntakeFromADeadWorker(t *testing.T) {
	p := newProducer(newRig(t, nil))
	p.enqueue(intakeTask, sendTo("u1"), asynq.TaskID("orphan"), asynq.MaxRetry(0))
	// asynq's own records, as they are when nobody has renewed the lease.
	redis, key := p.redis.Client(), "asynq:{crier-intake}:"
	lease := float64(time.Now().Add(-time.Minute).Unix())
	for _, err := range []error{
		redis.RPopLPush(t.Context(), key+"pending", key+"active").Err(),
		redis.HSet(t.Context(), key+"t:orphan", "state", "active").Err(),
		redis.ZAdd(t.Context(), key+"lease", goredis.Z{Score: lease, Member: "orphan"}).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.until("it is in a dead worker's hands", func(i *asynq.QueueInfo) bool { return i.Active == 1 })
	p.start()
	p.taken()
	if s := p.finished("orphan"); s.Sent != 1 {
		t.Errorf("%+v", s)
	}
}

// While jobs cannot be stored, tasks are neither lost nor rejected.
func TestIntakeComesBack(t *testing.T) {
	p := newProducer(newRig(t, nil))
	_, registry, _ := p.start()
	if err := p.book.PublishLimits(t.Context(), []byte("no limits")); err != nil {
		t.Fatal(err)
	}
	p.enqueue(intakeTask, sendTo("u1"), asynq.TaskID("archived"), asynq.MaxRetry(0))
	p.enqueue(intakeTask, sendTo("u2"), asynq.TaskID("retried"), asynq.MaxRetry(1))
	where := map[string]bool{}
	p.until("asynq archives one and retries the other", func(i *asynq.QueueInfo) bool {
		where["archive"] = where["archive"] || i.Archived == 1
		where["retry"] = where["retry"] || i.Retry == 1
		return where["archive"] && where["retry"]
	})
	p.counted(registry, 0, 0, 0)
	if err := p.cfg.Limits.Publish(t.Context(), p.book); err != nil {
		t.Fatal(err)
	}
	p.taken()
	p.finished("archived")
	p.finished("retried")
	p.counted(registry, 2, 0, 0)
}

// Neither running bulk jobs nor waiting ones keep an urgent task waiting.
func TestIntakeBesideBulk(t *testing.T) {
	p := newProducer(newRig(t, func(c *chatsim.Config) { c.Latency = 200 * time.Millisecond }))
	p.cfg.Concurrency = 8
	for i := range bulkSlots + 10 {
		p.submit(fmt.Sprintf(`{"id":"bulk-%d","target":["a%d","b%d"],"options":{"max_rate":1},%s}`, i, i, i, hello), nil)
	}
	p.submit(`{"id":"huge",`+hello+`}`, p.numbered(50_000))
	p.start()
	p.await("huge", func(s Status) bool { return s.Sent > 0 })
	p.enqueue(intakeTask, strings.Replace(sendTo("u1"), `{`, `{"options":{"priority":"urgent"},`, 1), asynq.TaskID("code"))
	p.taken()
	if s := p.finished("code"); s.Sent != 1 {
		t.Errorf("%+v", s)
	}
	if s := p.await("huge", func(Status) bool { return true }); s.State.Ended() {
		t.Errorf("there was nothing to wait behind: %+v", s)
	}
}

func TestProblemOf(t *testing.T) {
	long := strings.Repeat("ä", maxProblem)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{context.Canceled, ""},
		{fmt.Errorf("%w whether: %w", ErrNotKnown, errors.New("EOF")), ""},
		{ledger.ErrLost, ""},
		{fmt.Errorf("ledger: %w", ledger.ErrConflict), "id: belongs to a job with other content"},
		{errors.Join(fault("msg", "is required"), errors.New("the password is wrong")), "msg: is required"},
		{&SyntaxError{Line: 2, Column: 3, Problem: "no"}, "invalid JSON at line 2, column 3: no"},
		{&NamesError{Faults: []error{apiclient.FieldError{Field: "target[0]", Problem: "is bad"}}, Count: 2}, "target[0]: is bad\nand 1 more"},
		{fault("x"+long, "is unknown"), ("x" + long)[:maxProblem-1] + "..."},
	} {
		got := problemOf(tt.err)
		if diff := cmp.Diff(tt.want, got); diff != "" || !utf8.ValidString(got) {
			t.Errorf("%.100v (-want +got):\n%.500s", tt.err, diff)
		}
	}
}

func TestTimeless(t *testing.T) {
	type key struct{}
	base := context.WithValue(timeless{t.Context()}, key{}, "value")
	for _, deadline := range []time.Time{time.Now().Add(-time.Hour), time.Unix(-1, 0), time.Time{}.Add(1), time.Now().Add(time.Hour)} {
		ctx, cancel := context.WithDeadline(base, deadline)
		if ctx.Err() != nil || ctx.Value(key{}) != "value" {
			t.Errorf("with a deadline at %v: %v", deadline, ctx.Err())
		}
		if cancel(); ctx.Err() != context.Canceled {
			t.Errorf("cancelled: %v", ctx.Err())
		}
	}
}
