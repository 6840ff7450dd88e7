package test

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/redistest"
)

// Many at a time are all served, and each message is delivered once.
func TestGatewayManyClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	w.worker()
	const clients = 200
	ids := make([]string, clients)
	var all sync.WaitGroup
	for i, name := range names(clients) {
		all.Go(func() {
			body := `{"target":["` + name + `"],"target_type":"users","msg":{"type":"txt","msg":"code"},"options":{"priority":"urgent"}}`
			got, err := g.try("POST", "/v1/jobs", strings.NewReader(body))
			var s status
			if err != nil || got.status != 202 || json.Unmarshal([]byte(got.body), &s) != nil {
				t.Errorf("%v %+v", err, got)
			}
			ids[i] = s.ID
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, id := range ids {
		if s := g.finished(id); s.Sent != 1 {
			t.Errorf("%+v", s)
		}
	}
	if diff := cmp.Diff(once(names(clients)...), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestGatewayControl(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	state := func(want, text string) {
		t.Helper()
		if s := decode[status](t, text); s.State != want {
			t.Errorf("%s, want %s", s.State, want)
		}
	}
	job := `{"id":"j","target":["u1","u2","u3"],"target_type":"users","msg":{"type":"txt","msg":"hello"}}`
	plan := decode[map[string]any](t, g.wants(200, "POST", "/v1/plan", job).body)
	if plan["targets"] != 3.0 || plan["calls"] != 1.0 || w.stored() != 0 {
		t.Errorf("%v, %d keys in Redis", plan, w.stored())
	}
	g.wants(202, "POST", "/v1/jobs", job)
	state("paused", g.wants(200, "POST", "/v1/jobs/j/pause", "").body)
	state("running", g.wants(200, "POST", "/v1/jobs/j/resume", "").body)
	g.wants(409, "DELETE", "/v1/jobs/j", "")
	if got := g.wants(200, "POST", "/v1/jobs/j/cancel", ""); decode[status](t, got.body).Cancelled != 3 {
		t.Errorf("cancelled: %s", got.body)
	}
	g.wants(409, "POST", "/v1/jobs/j/resume", "")
	g.wants(409, "POST", "/v1/jobs/j/resend", "")
	again := g.wants(202, "POST", "/v1/jobs/j/resend?outcome=cancelled", "", "Idempotency-Key", "again")
	if s := decode[map[string]any](t, again.body); s["resend_of"] != "j" || s["total"] != 3.0 {
		t.Errorf("%v", s)
	}
	g.wants(200, "POST", "/v1/jobs/j/resend?outcome=cancelled", "", "Idempotency-Key", "again")
	g.wants(204, "DELETE", "/v1/jobs/j", "")
	g.wants(404, "GET", "/v1/jobs/j", "")
	w.worker()
	if s := g.finished("again"); s.Sent != 3 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once("u1", "u2", "u3"), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// stream begins to send a list to a job, and returns what sends on, and what is
// answered in the end. It returns once a part of the list is in Redis.
func (g *gateway) stream(id, text string) (more *io.PipeWriter, answer <-chan reply) {
	g.w.t.Helper()
	before := g.w.stored()
	read, write := io.Pipe()
	done := make(chan reply, 1)
	go func() {
		got, err := g.try("POST", "/v1/jobs/"+id+"/targets", read, "Content-Type", "text/plain")
		if err != nil {
			got.body = err.Error()
		}
		done <- got
	}()
	if _, err := io.WriteString(write, text); err != nil {
		g.w.t.Fatal(err)
	}
	eventually(g.w.t, "a part of the list is in Redis", func() bool { return g.w.stored() > before })
	return write, done
}

// SIGTERM lets a request finish that is under way; a crash leaves nothing of it.
func TestGatewayEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := strings.Join(names(20_000), "\n") + "\n"
	g := w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	more, answer := g.stream("j", list)
	g.process.signal(t, syscall.SIGKILL)
	g.process.result(t)
	_ = more.Close() // never fails
	if got := <-answer; got.status != 0 {
		t.Errorf("answered by a crash: %+v", got)
	}
	if s := w.status("j"); s.Total != 0 || s.State != "loading" {
		t.Errorf("%+v", s)
	}

	g = w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "k")
	more, answer = g.stream("k", list)
	g.process.signal(t, syscall.SIGTERM)
	eventually(t, "it drains", func() bool { return strings.Contains(g.process.err.String(), "draining") })
	if _, err := io.WriteString(more, "the-last\n"); err != nil {
		t.Fatal(err)
	}
	_ = more.Close() // never fails
	if got := <-answer; got.status != 200 || !strings.HasPrefix(got.body, `{"added":20001,"duplicates":0,`) {
		t.Errorf("%+v", got)
	}
	if got := g.process.result(t); got.code != 0 || got.out != "" {
		t.Errorf("exit %d, %q", got.code, got.out)
	}
	if s := w.status("k"); s.Total != 20_001 {
		t.Errorf("%+v", s)
	}

	g = w.serve()
	if got := g.list(200, "j", list); !strings.HasPrefix(got.body, `{"added":20000,"duplicates":0,`) {
		t.Errorf("the same list after the crash: %s", got.body)
	}
}

// A Redis that is full or away is told as such, and nothing of the request is left.
func TestGatewayWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, redistest.StartReal(t, redistest.AOF()))
	g := w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	before := w.stored()
	job := `{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"hello"}}`
	unavailable := func(path, body string) {
		t.Helper()
		if got := g.wants(503, "POST", path, body, "Content-Type", "text/plain"); got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After: %+v", path, got)
		}
	}
	redis := w.redis.Client()
	maxmemory := func(bytes string) {
		t.Helper()
		if err := redis.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	maxmemory("1")
	unavailable("/v1/jobs", job)
	unavailable("/v1/jobs/j/targets", "u1\n")
	if n := w.stored(); n != before {
		t.Errorf("%d keys in Redis, there were %d", n, before)
	}
	maxmemory("0")
	eventually(t, "jobs are taken again", func() bool { return g.call("POST", "/v1/jobs", job).status == 202 })

	w.redis.Kill()
	unavailable("/v1/jobs", job)
	unavailable("/v1/jobs/j/targets", "u1\n")
	unavailable("/v1/jobs/j/pause", "")
	g.wants(503, "GET", "/v1/jobs/j", "")
	if got := g.wants(503, "GET", "/readyz", ""); !strings.Contains(got.body, "Redis at "+w.redis.URL) || !strings.Contains(got.body, "cannot be reached: ") {
		t.Errorf("/readyz says %q", got.body)
	}
	g.wants(200, "GET", "/healthz", "")
	w.redis.Restart()
	eventually(t, "it is ready again", func() bool { return g.call("GET", "/readyz", "").status == 200 })
	eventually(t, "jobs are taken again", func() bool { return g.call("POST", "/v1/jobs", job).status == 202 })
	if got := g.list(200, "j", "u1\n"); !strings.Contains(got.body, `"total":1`) {
		t.Errorf("%+v", got)
	}
}
