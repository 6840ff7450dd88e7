package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// site is an admin server for a test.
type site struct {
	t      *testing.T
	url    string
	health *health
	redis  redis.UniversalClient
	log    *bytes.Buffer
}

func newSite(t *testing.T, redisURL string, change func(*adminConfig)) *site {
	t.Helper()
	conn, err := redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &site{t: t, redis: conn.Client, log: new(bytes.Buffer), health: &health{conn: conn, draining: t.Context()}}
	c := adminConfig{
		namespace: "crier", registry: prometheus.NewRegistry(), redis: conn.Client, health: s.health,
		log: slog.New(slog.NewJSONHandler(s.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	server := httptest.NewServer(c.pages())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *site) ask(method, path string) (status int, body string, header http.Header) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // it follows no redirect
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

func (s *site) get(path string, want int) string {
	s.t.Helper()
	status, body, _ := s.ask(http.MethodGet, path)
	if status != want {
		s.t.Errorf("GET %s: %d, want %d\n%s", path, status, want, body)
	}
	return body
}

func TestAdminPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, redistest.Start(t).URL, nil)
	index := s.get("/", 200)
	for _, path := range []string{"/healthz", "/metrics", "/queues/"} {
		s.get(path, 200)
		if !strings.Contains(index, path+" ") {
			t.Errorf("the index does not name %s:\n%s", path, index)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/nothing"} {
		s.get(path, 404)
	}
	if strings.Contains(index, "pprof") {
		t.Errorf("the index names what is off:\n%s", index)
	}
	if status, _, header := s.ask(http.MethodGet, "/queues"); status/100 != 3 || header.Get("Location") != "/queues/" {
		t.Errorf("/queues: %d to %q", status, header.Get("Location"))
	}

	s = newSite(t, redistest.Start(t).URL, func(c *adminConfig) { c.profiles = true })
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/symbol"} {
		s.get(path, 200)
	}
	s.get("/debug/pprof/cmdline", 404) // secrets may be given as flags
}

// queueList is what the page's API says of the queues.
type queueList struct {
	Queues []struct {
		Queue                                                           string
		Size, Active, Pending, Scheduled, Retry, Archived, Completed, N int
	}
}

func (s *site) queues() map[string]int {
	s.t.Helper()
	var list queueList
	body := s.get("/queues/api/queues", 200)
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		s.t.Fatalf("%v in %s", err, body)
	}
	sizes := map[string]int{}
	for _, q := range list.Queues {
		sizes[q.Queue] = q.Size
	}
	return sizes
}

func enqueue(t *testing.T, client redis.UniversalClient, queue, taskType, payload string, opts ...asynq.Option) {
	t.Helper()
	opts = append(opts, asynq.Queue(queue), asynq.MaxRetry(math.MaxInt32))
	if _, err := asynq.NewClientFromRedisClient(client).Enqueue(asynq.NewTask(taskType, []byte(payload)), opts...); err != nil {
		t.Fatal(err)
	}
}

// The page lists the namespace's three queues, whatever Redis remembers, and no others.
func TestQueuesAreListed(t *testing.T) {
	t.Parallel()
	s := newSite(t, redistest.Start(t).URL, nil)
	none := map[string]int{"crier-bulk": 0, "crier-urgent": 0, "crier-intake": 0}
	if diff := cmp.Diff(none, s.queues()); diff != "" {
		t.Errorf("before anything was enqueued:\n%s", diff)
	}
	for queue := range none {
		for _, path := range []string{"", "/pending_tasks", "/active_tasks", "/archived_tasks", "/groups"} {
			s.get("/queues/api/queues/"+queue+path, 200)
		}
	}
	for _, path := range []string{"/queue_stats", "/servers", "/scheduler_entries"} {
		s.get("/queues/api"+path, 200)
	}
	enqueue(t, s.redis, "crier-bulk", "slot", "j1")
	enqueue(t, s.redis, "other-bulk", "slot", "j2")
	if diff := cmp.Diff(map[string]int{"crier-bulk": 1, "crier-urgent": 0, "crier-intake": 0}, s.queues()); diff != "" {
		t.Errorf("after an entry in one:\n%s", diff)
	}
	s.get("/queues/api/queues/other-bulk", 500) // asynqmon's way to say that it knows none
	if err := s.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(none, s.queues()); diff != "" {
		t.Errorf("after Redis has lost all:\n%s", diff)
	}
	enqueue(t, s.redis, "crier-urgent", "slot", "j3")
	if got := s.queues()["crier-urgent"]; got != 1 {
		t.Errorf("an entry after that: %d", got)
	}
	if body := s.get("/queues/anything/else", 200); !strings.Contains(body, "<html") {
		t.Errorf("a page of the browser's own is answered with %.100q", body)
	}
}

// dump is all that Redis holds.
func dump(t *testing.T, client redis.UniversalClient) map[string]string {
	t.Helper()
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		if all[key], err = client.Dump(t.Context(), key).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Nothing that asynqmon offers to do is done.
func TestQueuesAreReadOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, redistest.Start(t).URL, nil)
	enqueue(t, s.redis, "crier-intake", "message:send", "{}", asynq.TaskID("a"))
	enqueue(t, s.redis, "crier-intake", "message:send", "{}", asynq.TaskID("b"), asynq.ProcessIn(time.Hour))
	before := dump(t, s.redis)
	paths := []string{"/scheduler_entries", "/servers", "/queues", "/queues/crier-intake", "/queues/crier-intake:pause", "/queues/crier-intake:resume"}
	for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed", "groups/g/aggregating"} {
		for _, task := range []string{"/a", "/a:cancel", "/a:run", "/a:archive", ":cancel_all", ":delete_all", ":archive_all", ":run_all", ":batch_cancel", ":batch_delete", ":batch_archive", ":batch_run"} {
			paths = append(paths, "/queues/crier-intake/"+state+"_tasks"+task)
		}
	}
	for _, path := range paths {
		for _, method := range []string{"POST", "DELETE", "PUT", "PATCH", "OPTIONS", "get"} {
			if status, body, _ := s.ask(method, "/queues/api"+path); status != 405 {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
		}
		_, _, _ = s.ask("GET", "/queues/api"+path) // whatever it says
	}
	if diff := cmp.Diff(before, dump(t, s.redis)); diff != "" {
		t.Errorf("Redis has changed:\n%s", diff)
	}
}

// No page shows what a message says, nor a task's result.
func TestQueuesShowNoMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t, redistest.Start(t).URL, nil)
	const secret = "code-123456"
	document := `{"id": "login-1", "target": ["u1"], "msg": {"type": "txt", "msg": "` + secret + `"}}`
	enqueue(t, s.redis, "crier-intake", "message:send", document)
	enqueue(t, s.redis, "crier-intake", "message:send", `{"msg": "`+secret+`"}`, asynq.TaskID("of-task"))
	enqueue(t, s.redis, "crier-intake", "message:send", `{"id": "`+secret+` and more"}`)
	enqueue(t, s.redis, "crier-intake", "message:send", `{"id": "x", `+secret)
	enqueue(t, s.redis, "crier-intake", "message:send", document, asynq.ProcessIn(time.Hour))
	enqueue(t, s.redis, "crier-intake", "other", secret, asynq.TaskID("other"))
	enqueue(t, s.redis, "crier-bulk", "slot", "spring-sale")
	enqueue(t, s.redis, "crier-bulk", "slot", secret+" in a place where it should not be")

	// One that runs, and one that is done and has left a result.
	running, finish := make(chan struct{}), make(chan struct{})
	server := asynq.NewServerFromRedisClient(s.redis, asynq.Config{
		Queues: map[string]int{"crier-urgent": 1}, Concurrency: 2, LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond,
	})
	enqueue(t, s.redis, "crier-urgent", "done", secret, asynq.Retention(time.Hour), asynq.TaskID("done"))
	enqueue(t, s.redis, "crier-urgent", "message:send", document, asynq.TaskID("runs"))
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		if task.Type() == "done" {
			_, err := task.ResultWriter().Write([]byte(secret))
			return err
		}
		close(running)
		<-finish
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	defer close(finish)
	<-running
	eventually(t, func() bool {
		return strings.Contains(s.get("/queues/api/queues/crier-urgent/completed_tasks", 200), `"done"`)
	})
	eventually(t, func() bool { return strings.Contains(s.get("/queues/api/servers", 200), `"runs"`) }) // asynq writes it every 5 s

	var all strings.Builder
	for _, queue := range []string{"crier-bulk", "crier-urgent", "crier-intake"} {
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			all.WriteString(s.get("/queues/api/queues/"+queue+"/"+state+"_tasks", 200))
		}
	}
	all.WriteString(s.get("/queues/api/servers", 200))
	all.WriteString(s.get("/queues/api/queues/crier-urgent/tasks/done", 200))
	all.WriteString(s.get("/queues/api/queues/crier-urgent/tasks/runs", 200))
	all.WriteString(s.get("/queues/api/queues/crier-intake/tasks/of-task", 200))
	if strings.Contains(all.String(), secret) {
		t.Errorf("a page shows a message:\n%s", all.String())
	}
	for _, want := range []string{
		"bytes for job login-1", "for a job with this task's id", "a slot for job spring-sale", "11 bytes that are not shown",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no page says %q:\n%s", want, all.String())
		}
	}
}

// However many tasks there are, an answer has few, and little of what they hold
// is read.
func TestQueuesCostLittle(t *testing.T) {
	t.Parallel()
	s := newSite(t, redistest.Start(t).URL, nil)
	rows := func(query string) int {
		t.Helper()
		var list struct{ Tasks []any }
		if err := json.Unmarshal([]byte(s.get("/queues/api/queues/crier-intake/pending_tasks"+query, 200)), &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Tasks)
	}
	for range 150 {
		enqueue(t, s.redis, "crier-intake", "message:send", "{}")
	}
	for query, want := range map[string]int{
		"": 20, "?size=0": 1, "?size=-1": 1, "?size=1000000": 100, "?size=x": 20, "?size=60&page=0": 60, "?size=100&page=2": 50,
		"?size=100&page=99999999999999999999": 100, "?size=100&page=2000000": 0, "?page=-9&size=1": 1,
	} {
		if got := rows(query); got != want {
			t.Errorf("%q: %d tasks, want %d", query, got, want)
		}
	}
	if !slices.ContainsFunc(strings.Fields(s.redis.Info(t.Context(), "server").Val()), func(f string) bool { return strings.HasPrefix(f, "redis_version:") }) {
		t.Log("an embedded Redis does not tell the size of tasks")
		return
	}
	if err := s.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		enqueue(t, s.redis, "crier-intake", "message:send", strings.Repeat("x", 8<<20))
	}
	if got := rows("?size=100"); got < 1 || got > 8 {
		t.Errorf("of tasks of 8 MiB it lists %d", got)
	}
}

// What is broken in Redis, or Redis itself, breaks a page at most.
func TestQueuesSurvive(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := newSite(t, redis.URL, nil)
	enqueue(t, s.redis, "crier-bulk", "slot", "j1", asynq.TaskID("a"))
	for key, value := range map[string]any{"asynq:{crier-bulk}:t:a": nil, "asynq:{crier-bulk}:scheduled": "no set", "asynq:servers": "no set"} {
		if err := s.redis.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		if value != nil && s.redis.Set(t.Context(), key, value, 0).Err() != nil {
			t.Fatal("not set")
		}
	}
	for _, path := range []string{"", "/crier-bulk", "/crier-bulk/pending_tasks", "/crier-bulk/scheduled_tasks", "/crier-bulk/tasks/a"} {
		if status, body, _ := s.ask("GET", "/queues/api/queues"+path); status != 200 && status/100 != 4 && status != 500 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.get("/queues/api/servers", 500)
	s.get("/queues/api/queues/crier-urgent", 200)
	redis.Kill()
	s.get("/queues/api/queues", 500)
	s.get("/queues/", 200)
	s.get("/healthz", 200)
	s.get("/readyz", 503)
	redis.Restart()
	eventually(t, func() bool { status, _, _ := s.ask("GET", "/queues/api/queues"); return status == 200 })
}

func TestAPageMayPanic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	broken := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a page is broken") })
	w := httptest.NewRecorder()
	recovered(slog.New(slog.NewTextHandler(&log, nil)), http.TimeoutHandler(broken, time.Minute, "")).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/queues/api/x", nil))
	if w.Code != 500 || !strings.Contains(log.String(), "a page is broken") || !strings.Contains(log.String(), "/queues/api/x") {
		t.Errorf("%d, log %s", w.Code, log.String())
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
