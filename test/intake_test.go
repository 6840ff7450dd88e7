package test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"crier/internal/chatsim"
)

// rawQueue is the raw queue as another backend sees it.
type rawQueue struct {
	*world
	client    *asynq.Client
	inspector *asynq.Inspector
}

const intakeQueue = "crier-intake"

func (w *world) rawQueue() rawQueue {
	w.t.Helper()
	redis := w.redis.Client()
	return rawQueue{w, asynq.NewClientFromRedisClient(redis), asynq.NewInspectorFromRedisClient(redis)}
}

// put enqueues a task of the right type and returns its id.
func (q rawQueue) put(payload string, options ...asynq.Option) string {
	q.t.Helper()
	return q.putTask(asynq.NewTask("message:send", []byte(payload)), options...)
}

func (q rawQueue) putTask(task *asynq.Task, options ...asynq.Option) string {
	q.t.Helper()
	info, err := q.client.Enqueue(task, append(options, asynq.Queue(intakeQueue))...)
	if err != nil {
		q.t.Fatal(err)
	}
	return info.ID
}

func (q rawQueue) info() *asynq.QueueInfo {
	q.t.Helper()
	info, err := q.inspector.GetQueueInfo(intakeQueue)
	if err != nil {
		q.t.Fatal(err)
	}
	return info
}

// drained waits until no task is left.
func (q rawQueue) drained() {
	q.t.Helper()
	eventually(q.t, "the raw queue and its archive are empty", func() bool { return q.info().Size == 0 })
}

// rejectedTask is an element of what `rejected --json` prints.
type rejectedTask struct {
	ID, Type, Error string
	At              time.Time
	Bytes           int
	Payload         *string
	Base64          *string `json:"payload_base64"`
}

func sendTo(name string) string {
	return `{"target_type":"users","target":["` + name + `"],"msg":{"type":"txt","msg":"hello"}}`
}

// A task brought again, before or after it was done, is the same job.
func TestRawQueueDeliversOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.rawQueue()
	made := q.put(sendTo("u1"))
	q.put(sendTo("u2"), asynq.TaskID("order-7"))
	if _, err := q.client.Enqueue(asynq.NewTask("message:send", []byte(sendTo("u2"))), asynq.TaskID("order-7"), asynq.Queue(intakeQueue)); !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("while it waits: %v", err)
	}
	w.worker()
	q.drained()
	first := w.wait("order-7", 0)
	q.put(sendTo("u2"), asynq.TaskID("order-7"))
	q.drained()
	if diff := cmp.Diff(first, w.wait("order-7", 0)); diff != "" {
		t.Errorf("the job after the task came again (-first +then):\n%s", diff)
	}
	if s := w.wait(made, 0); s.Sent != 1 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once("u1", "u2"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestRawQueueRejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.rawQueue()
	if table, array := w.succeed("rejected"), w.succeed("rejected", "--json"); strings.Count(table, "\n") != 1 || array != "[]\n" {
		t.Errorf("before anything was rejected: %q, %q", table, array)
	}
	for _, args := range [][]string{{"rejected"}, {"rejected", "--json"}} {
		got := w.with("REDIS_URL=redis://127.0.0.1:1/0").enqueue(args...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "127.0.0.1:1") {
			t.Errorf("%q without Redis: %+v", args, got)
		}
	}
	w.send("--id", "taken", "--target", "u1", "--text", "hello")
	tests := map[string]struct {
		kind, payload string
		names         []string // what the error names
	}{
		"empty":   {"message:send", "", []string{"invalid JSON", "line 1"}},
		"no-json": {"message:send", "hello\x1b[31m", []string{"invalid JSON", "column 1"}},
		"bytes":   {"message:send", "\xff\x00", []string{"invalid JSON"}},
		"unknown": {"message:send", `{"colour":1,` + sendTo("u1")[1:], []string{"colour"}},
		"faults":  {"message:send", `{"options":{"weight":11},"id":"no id","target":["u1"]}`, []string{"options.weight", "id", "msg"}},
		"target":  {"message:send", sendTo("u 1"), []string{"target[0]"}},
		"taken":   {"message:send", sendTo("u2"), []string{"id", "other content"}},
		"type":    {"message:cancel", sendTo("u2"), []string{"type", "message:cancel", "message:send"}},
		"a/b\nc":  {"message:send", sendTo("u2"), []string{"id"}},
	}
	for id, tt := range tests {
		q.putTask(asynq.NewTask(tt.kind, []byte(tt.payload)), asynq.TaskID(id))
	}
	good := q.put(sendTo("u9"))
	p := w.worker()
	q.drained()
	w.wait(good, 0)
	w.wait("taken", 0)
	if diff := cmp.Diff(once("u1", "u9"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	q.put("hello\x1b[31m", asynq.TaskID("no-json")) // again: no second entry
	q.drained()

	list := decode[[]rejectedTask](t, w.succeed("rejected", "--json"))
	if len(list) != len(tests) || list[0].ID != "no-json" {
		t.Errorf("%d are listed, the newest is %+v", len(list), list[0])
	}
	for _, r := range list {
		tt := tests[r.ID]
		for _, name := range tt.names {
			if !strings.Contains(r.Error, name) {
				t.Errorf("%q: %q does not name %s", r.ID, r.Error, name)
			}
		}
		payload := r.Payload
		if r.ID == "bytes" {
			text, err := base64.StdEncoding.DecodeString(*r.Base64)
			if err != nil {
				t.Fatal(err)
			}
			payload = new(string(text))
		}
		if payload == nil || *payload != tt.payload || r.Bytes != len(tt.payload) || r.Type != tt.kind || time.Since(r.At) > time.Hour {
			t.Errorf("%+v, want the payload %q", r, tt.payload)
		}
	}
	table := w.succeed("rejected")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 1+len(tests) || strings.ContainsRune(table, '\x1b') {
		t.Errorf("as a table:\n%s", table)
	}
	_, metrics := get(t, p.admin(t)+"/metrics")
	if want := fmt.Sprintf("crier_intake_total{result=\"rejected\"} %d\n", len(tests)+1); !strings.Contains(metrics, want) {
		t.Errorf("/metrics has not %s", want)
	}
	if log := p.err.String(); !strings.Contains(log, "options.weight") || strings.Contains(log, `\"weight\":11`) {
		t.Errorf("the log tells of what was rejected, and not its text: %s", log)
	}
}

// Tasks that asynq has archived, or whose time was over before a worker was
// there, are taken in.
func TestRawQueueArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.rawQueue()
	q.put(sendTo("u1"), asynq.TaskID("late"), asynq.MaxRetry(0), asynq.Deadline(time.Now().Add(-time.Hour)))
	q.put(sendTo("u2"), asynq.TaskID("archived"), asynq.MaxRetry(0))
	q.put("{", asynq.TaskID("wrong"))
	for _, id := range []string{"archived", "wrong"} {
		if err := q.inspector.ArchiveTask(intakeQueue, id); err != nil {
			t.Fatal(err)
		}
	}
	if info := q.info(); info.Archived != 2 {
		t.Fatalf("before: %+v", info)
	}
	w.worker()
	q.drained()
	w.wait("late", 0)
	w.wait("archived", 0)
	if diff := cmp.Diff(once("u1", "u2"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if list := decode[[]rejectedTask](t, w.succeed("rejected", "--json")); len(list) != 1 || list[0].ID != "wrong" {
		t.Errorf("rejected: %+v", list)
	}
}

// With every slot of a worker taken by bulk, a code still goes through.
func TestRawQueueBesideBulk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = 100 * time.Millisecond }).with("CONCURRENCY=2")
	q := w.rawQueue()
	for i := range 150 {
		q.put(fmt.Sprintf(`{"target_type":"users","target":["a%d","b%d"],"msg":{"type":"txt","msg":"sale"},"options":{"max_rate":1}}`, i, i))
	}
	w.sendWith(strings.Join(names(100_000), "\n"), "--id", "huge", "--targets", "-", "--text", "sale")
	w.worker()
	eventually(t, "the huge job runs", func() bool { return w.status("huge").Sent > 0 })
	q.put(strings.Replace(sendTo("customer"), "{", `{"options":{"priority":"urgent"},`, 1), asynq.TaskID("code"))
	eventually(t, "the code is delivered", func() bool { return w.sim.Delivered(chatsim.Users, "customer") == 1 })
	if s := w.status("huge"); s.State != "running" {
		t.Errorf("there was nothing to wait behind: %+v", s)
	}
}

// A payload near the limit is taken in, even by a worker that is told to end meanwhile.
func TestRawQueueLargePayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.rawQueue()
	const count = 15 << 20 / 67
	var list strings.Builder
	for i := range count {
		fmt.Fprintf(&list, `"%064d",`, i)
	}
	const rest = `"u"],"target_type":"users","msg":{"type":"txt","msg":"hello"},"options":{"send_at":"2999-01-01T00:00:00Z"}}`
	first := w.worker()
	q.put(`{"target":[`+list.String()+rest, asynq.TaskID("large"), asynq.MaxRetry(0), asynq.Timeout(time.Second))
	eventually(t, "it is being taken in", func() bool { return q.info().Pending == 0 })
	w.stop(first)
	w.worker()
	q.drained()
	if s := w.status("large"); s.State != "scheduled" || s.Total != count+1 || s.Pending != count+1 {
		t.Errorf("%+v", s)
	}
}

// The producer in examples/asynq does what it says.
func TestRawQueueExample(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	build := exec.Command("go", "build", "-o", filepath.Join(programs, "producer"), "crier/examples/asynq")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Cleanup(func() { _ = os.Remove(filepath.Join(programs, "producer")) })
	producer := command{program: "producer", env: w.vars}
	args := []string{"-id", "login-4711", "-user", "u1", "-text", "Your code is 123456"}
	for _, again := range []bool{false, true} {
		if got := producer.run(t, args...); got.code != 0 || got.out != "login-4711\n" || again == (got.err == "") {
			t.Errorf("%+v", got)
		}
	}
	p := w.worker()
	w.rawQueue().drained()
	if s := w.wait("login-4711", 0); s.Sent != 1 {
		t.Errorf("%+v", s)
	}
	if got := producer.run(t, args...); got.code != 0 || got.out != "login-4711\n" {
		t.Errorf("after it was delivered: %+v", got)
	}
	made := producer.run(t, "-user", "u2")
	w.rawQueue().drained()
	if s := w.wait(strings.TrimSpace(made.out), 0); made.code != 0 || s.Sent != 1 {
		t.Errorf("with an id that was made: %+v, %+v", made, s)
	}
	if diff := cmp.Diff(once("u1", "u2"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	p.signal(t, syscall.SIGTERM)
	if got := p.result(t); got.code != 0 {
		t.Errorf("the worker: exit %d", got.code)
	}
	wrong := command{program: "producer", env: []string{"REDIS_URL=redis://u:s3cret@127.0.0.1:x"}}.run(t)
	if wrong.code != 1 || wrong.out != "" || strings.Contains(wrong.err, "s3cret") {
		t.Errorf("with a wrong URL: %+v", wrong)
	}
}
