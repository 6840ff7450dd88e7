package gateway

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/tasks"
)

// Pages of a list follow each other without a gap, whatever is filtered out.
func TestListPages(t *testing.T) {
	r := newRig(t, nil)
	var all, running []string
	for i := range 9 {
		id := fmt.Sprintf("job-%d", i)
		if i%3 == 0 {
			r.begin(id)
		} else {
			r.wants(r.post("/v1/jobs", document("u1"), "Idempotency-Key", id), 202)
			running = append(running, id)
		}
		all = append(all, id)
	}
	slices.Reverse(all)
	slices.Reverse(running)
	type page struct {
		Jobs []tasks.Status
		Next *string `json:"next_cursor"`
	}
	for _, tt := range []struct {
		query string
		sizes []int // of the pages
		want  []string
	}{
		{"", []int{9}, all},
		{"limit=9", []int{9}, all},
		{"limit=1000", []int{9}, all},
		{"limit=4", []int{4, 4, 1}, all},
		{"limit=1", []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, all},
		{"state=running", []int{6}, running},
		{"state=running&limit=4", []int{4, 2}, running},
		{"state=running&limit=3", []int{3, 3}, running},
		{"state=loading&limit=2", []int{2, 1}, []string{"job-6", "job-3", "job-0"}},
		{"state=finished", []int{0}, nil},
	} {
		t.Run(tt.query, func(t *testing.T) {
			var ids []string
			var sizes []int
			for cursor := ""; len(sizes) < 10; {
				p := decode[page](t, r.wants(r.get("/v1/jobs?"+tt.query+"&cursor="+url.QueryEscape(cursor)), 200).body)
				sizes = append(sizes, len(p.Jobs))
				for _, job := range p.Jobs {
					ids = append(ids, job.ID)
				}
				if p.Next == nil {
					break
				}
				cursor = *p.Next
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" {
				t.Errorf("jobs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.sizes, sizes); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
	if got := r.get("/v1/jobs?state=finished"); !strings.Contains(got.body, `"jobs":[]`) || !strings.Contains(got.body, `"next_cursor":null`) {
		t.Errorf("no job at all: %s", got.body)
	}
	// A job that has gone meanwhile breaks no list.
	p := decode[page](t, r.get("/v1/jobs?limit=4").body)
	r.wants(r.post("/v1/jobs/"+p.Jobs[3].ID+"/cancel", ""), 200)
	r.wants(r.call("DELETE", "/v1/jobs/"+p.Jobs[3].ID, nil), 204)
	rest := decode[page](t, r.get("/v1/jobs?cursor="+url.QueryEscape(*p.Next)).body)
	if len(rest.Jobs) != 5 || rest.Jobs[0].ID != all[4] {
		t.Errorf("behind a job that has gone: %+v", rest)
	}
}

func TestWrongQueries(t *testing.T) {
	r := newRig(t, nil)
	r.wants(r.post("/v1/jobs", document("u1"), "Idempotency-Key", "j"), 202)
	r.begin("draft")
	for call, field := range map[string]string{
		"GET /v1/jobs?limit=0":                  "limit",
		"GET /v1/jobs?limit=1001":               "limit",
		"GET /v1/jobs?limit=many":               "limit",
		"GET /v1/jobs?state=gone":               "state",
		"GET /v1/jobs?cursor=none":              "cursor",
		"GET /v1/jobs?stat=running":             "stat",
		"GET /v1/jobs/j/results?outcome=lost":   "outcome",
		"GET /v1/jobs/j/results?outcome=sent,,": "outcome",
		"POST /v1/jobs/j/resend?outcome=sent":   "outcome",
		"POST /v1/jobs/draft/targets?column=a":  "column",
		"POST /v1/jobs/draft/targets?skip=true": "skip",
	} {
		method, path, _ := strings.Cut(call, " ")
		p := refused(t, r.call(method, path, strings.NewReader("u1\n"), "Content-Type", "text/plain"), 422)
		if len(p.Errors) != 1 || p.Errors[0].Location != field {
			t.Errorf("%s: %+v", call, p)
		}
	}
}

func TestIdempotencyKeys(t *testing.T) {
	r := newRig(t, nil)
	withID := strings.Replace(document("u1"), "{", `{"id":"mine",`, 1)
	for name, tt := range map[string]struct {
		body   string
		key    string // "" = none
		status int
		id     string // or the field that is wrong
	}{
		"from the header":   {document("u1"), "key-1", 202, "key-1"},
		"as a string":       {document("u1"), `"key-2"`, 202, "key-2"},
		"from the document": {withID, "", 202, "mine"},
		"both":              {strings.Replace(withID, "mine", "both", 1), "both", 202, "both"},
		"two":               {withID, "other", 422, "id"},
		"no id":             {document("u1"), "no id", 422, "Idempotency-Key"},
		"too long":          {document("u1"), strings.Repeat("x", 129), 422, "Idempotency-Key"},
		"empty string":      {document("u1"), `""`, 422, "Idempotency-Key"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tt.key != "" {
				headers = []string{"Idempotency-Key", tt.key}
			}
			got := r.post("/v1/jobs", tt.body, headers...)
			if tt.status == 422 {
				if p := refused(t, got, 422); len(p.Errors) != 1 || p.Errors[0].Location != tt.id {
					t.Errorf("%+v", p)
				}
				return
			}
			if got.status != 202 || decode[tasks.Status](t, got.body).ID != tt.id || got.header.Get("Location") != "/v1/jobs/"+tt.id {
				t.Errorf("%+v", got)
			}
			if again := r.post("/v1/jobs", tt.body, headers...); again.status != 200 || again.header.Get("Location") != "/v1/jobs/"+tt.id {
				t.Errorf("again: %+v", again)
			}
		})
	}
	if p := refused(t, r.post("/v1/jobs", document("u2"), "Idempotency-Key", "key-1"), 409); len(p.Errors) != 1 || p.Errors[0].Location != "id" {
		t.Errorf("conflict: %+v", p)
	}
}

func TestResultsByAccept(t *testing.T) {
	r := newRig(t, nil)
	r.wants(r.post("/v1/jobs", document("u1", "u2"), "Idempotency-Key", "j"), 202)
	for accept, want := range map[string]string{
		"":                                      mediaCSV,
		"*/*":                                   mediaCSV,
		"text/*":                                mediaCSV,
		"text/csv":                              mediaCSV,
		"text/csv; charset=utf-8":               mediaCSV,
		"text/html, application/json;q=0.9":     mediaNDJSON,
		"application/x-ndjson":                  mediaNDJSON,
		"application/x-ndjson, text/csv":        mediaNDJSON, // both as good: the first
		"text/csv;q=0.1, application/x-ndjson":  mediaNDJSON,
		"text/csv;q=0, application/x-ndjson":    mediaNDJSON,
		"application/x-ndjson;q=0.5, */*;q=0.1": mediaNDJSON,
		"application/ndjson":                    mediaNDJSON,
		"application/jsonl":                     mediaNDJSON,
		"application/*":                         mediaNDJSON,
		"image/png":                             "",
		"text/html":                             "",
	} {
		t.Run(accept, func(t *testing.T) {
			got := r.get("/v1/jobs/j/results", "Accept", accept)
			if want == "" {
				refused(t, got, 406)
				return
			}
			if got.status != 200 || got.header.Get("Content-Type") != want+"; charset=utf-8" {
				t.Fatalf("%d %s", got.status, got.header.Get("Content-Type"))
			}
			var targets []string
			if want == mediaCSV {
				rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
				if err != nil || strings.Join(rows[0], ",") != "target,outcome,reason,detail,attempts,message_id,at" {
					t.Fatalf("%v %q", err, got.body)
				}
				for _, row := range rows[1:] {
					targets = append(targets, row[0])
				}
			} else {
				for line := range strings.Lines(got.body) {
					targets = append(targets, decode[tasks.ResultRow](t, line).Target)
				}
			}
			if !slices.Equal(targets, []string{"u1", "u2"}) {
				t.Errorf("%q", targets)
			}
		})
	}
	if got := r.get("/v1/jobs/j/results?outcome=sent,failed"); got.status != 200 || strings.Count(got.body, "\n") != 1 {
		t.Errorf("none of them: %+v", got)
	}
	refused(t, r.get("/v1/jobs/none/results"), 404)
}

// Results that break off do not look like the whole list.
func TestResultsThatBreakOff(t *testing.T) {
	r := newRig(t, nil)
	const total = 40_000
	r.wants(r.post("/v1/jobs", document(manyNames(total)...), "Idempotency-Key", "j"), 202)
	names := "crier:{j}:names"
	segments, err := r.client.HKeys(t.Context(), names).Result()
	if err != nil || len(segments) < 3 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	if err := r.client.HSet(t.Context(), names, slices.Max(segments), "no segment").Err(); err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{mediaCSV, mediaNDJSON} {
		got := r.get("/v1/jobs/j/results", "Accept", accept)
		if rows := strings.Count(got.body, "\n"); got.status != 200 || got.broken == nil || rows == 0 || rows >= total {
			t.Errorf("%s: %d, %d rows, %v", accept, got.status, rows, got.broken)
		}
	}
	eventually(t, "the log tells", func() bool { return r.log.count(slog.LevelWarn, "results broke off") == 2 })
	r.wants(r.get("/healthz"), 200)
}

// Results can be read again and again: nobody's place is kept taken.
func TestClientsPlacesAreGivenBack(t *testing.T) {
	r := newRig(t, func(cfg *Config, _ *Parts) { cfg.MaxClients = 1 })
	r.gateway.mux.HandleFunc("GET /breaks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("part")) // before it breaks off
		panic(http.ErrAbortHandler)
	})
	for range 3 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/breaks", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := send(request); err == nil && got.broken == nil {
			t.Errorf("a whole answer: %+v", got)
		}
		refused(t, r.get("/nothing"), 404)
	}
	if text := r.log.String(); strings.Contains(text, "a request failed") {
		t.Errorf("the log: %s", text)
	}
}

func TestNoSuchCall(t *testing.T) {
	r := newRig(t, nil)
	for call, allow := range map[string]string{
		"GET /":                      "",
		"GET /v1":                    "",
		"GET /v2/jobs":               "",
		"POST /v1/jobs/j/stop":       "",
		"GET /favicon.ico":           "",
		"POST /org/app/messages/all": "",
		"POST /messages":             "",
		"PUT /v1/jobs":               "GET, HEAD, POST",
		"PATCH /v1/jobs/j":           "DELETE, GET, HEAD",
		"GET /v1/jobs/j/start":       "POST",
		"GET /v1/plan":               "POST",
		"GET /org/app/messages":      "POST",
		"DELETE /healthz":            "GET, HEAD",
	} {
		method, path, _ := strings.Cut(call, " ")
		got := r.call(method, path, nil)
		status := 404
		if allow != "" {
			status = 405
		}
		if refused(t, got, status); got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q", call, got.header.Get("Allow"))
		}
	}
	for _, call := range []string{
		"GET /v1/jobs/none", "GET /v1/jobs/none/results", "POST /v1/jobs/none/pause", "POST /v1/jobs/none/resume", "POST /v1/jobs/none/cancel",
		"POST /v1/jobs/none/resend", "POST /v1/jobs/none/start", "POST /v1/jobs/none/targets", "DELETE /v1/jobs/none",
	} {
		method, path, _ := strings.Cut(call, " ")
		if p := refused(t, r.call(method, path, strings.NewReader("u1\n"), "Content-Type", "text/plain"), 404); !strings.Contains(p.Detail, "no such job") {
			t.Errorf("%s: %+v", call, p)
		}
	}
}

// A fault of our own is an answer and a line in the log, not a broken connection.
func TestPanic(t *testing.T) {
	r := newRig(t, nil)
	r.gateway.mux.HandleFunc("GET /fault", func(http.ResponseWriter, *http.Request) { panic("s3cret inside") })
	got := r.get("/fault")
	if refused(t, got, 500); strings.Contains(got.body, "s3cret") {
		t.Errorf("%s", got.body)
	}
	if text := r.log.String(); r.log.count(slog.LevelError, "a request failed") != 1 || !strings.Contains(text, "s3cret inside") || !strings.Contains(text, "serve_test.go") {
		t.Errorf("the log: %s", text)
	}
	r.wants(r.get("/healthz"), 200)
}

func TestReadyz(t *testing.T) {
	r := newRig(t, nil)
	r.wants(r.get("/readyz"), 200)
	draining, drain := context.WithCancel(t.Context())
	r.gateway.draining = draining
	drain()
	if got := r.wants(r.get("/readyz"), 503); !strings.Contains(got.body, "draining") {
		t.Error(got.body)
	}
	r.wants(r.get("/healthz"), 200)

	away := offline(t, nil)
	w := &recorded{header: http.Header{}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if away.ServeHTTP(w, request); w.status != 503 || !strings.Contains(w.text.String(), "Redis is lost: ") {
		t.Errorf("%d %s", w.status, w.text.String())
	}

	// What Redis is asked for says more than a ping.
	state := redisState{err: errors.New("dial tcp: too slow")}
	r.gateway.draining = t.Context()
	r.gateway.pressure.probe = state.probe
	r.gateway.pressure.look(t.Context())
	if got := r.wants(r.get("/readyz"), 503); !strings.Contains(got.body, "too slow") {
		t.Error(got.body)
	}
}

// recorded is an answer that goes nowhere.
type recorded struct {
	header http.Header
	status int
	text   strings.Builder
}

func (w *recorded) Header() http.Header         { return w.header }
func (w *recorded) WriteHeader(status int)      { w.status = status }
func (w *recorded) Write(b []byte) (int, error) { return w.text.Write(b) }

// The metrics know requests by their route, of which there are few.
func TestRequestMetrics(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		r.wants(r.get(fmt.Sprintf("/v1/jobs/job-%d", i)), 404)
		r.wants(r.get(fmt.Sprintf("/nothing/%d", i)), 404)
	}
	r.wants(r.post("/org/app/messages", document("u1")), 202)
	r.gateway.mux.HandleFunc("GET /looks", func(w http.ResponseWriter, _ *http.Request) {
		r.gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/metrics", nil))
	})
	if text := r.wants(r.get("/looks"), 200).body; !strings.Contains(text, "crier_http_requests_in_flight 1\n") {
		t.Errorf("a request under way does not count: %s", text)
	}
	text := r.wants(r.get("/metrics"), 200).body
	for _, want := range []string{
		`crier_http_requests_total{code="404",route="/v1/jobs/{id}"} 3`,
		`crier_http_requests_total{code="404",route="none"} 3`,
		`crier_http_requests_total{code="202",route="/{org}/{app}/messages"} 1`,
		`crier_http_request_duration_seconds_count{route="none"} 3`,
		`crier_http_requests_in_flight 0`, // this one does not count
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "job-1") {
		t.Error("an id is a label")
	}
}

// The pages about the API come from here, whole: nothing is loaded from elsewhere.
func TestDocsAreWhole(t *testing.T) {
	r := newRig(t, nil)
	page := r.wants(r.get("/docs"), 200).body
	found := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 3 {
		t.Errorf("the page has %d parts:\n%s", len(found), page)
	}
	for _, part := range found {
		if !strings.HasPrefix(part[1], "/") || strings.HasPrefix(part[1], "//") {
			t.Errorf("%s is elsewhere", part[1])
			continue
		}
		r.wants(r.get(part[1]), 200)
	}
	if from := regexp.MustCompile(`(?i)(?:url\(|import |@import |fetch\()\W*https?:`).FindString(page); from != "" {
		t.Errorf("the page loads %s", from)
	}
	if !strings.Contains(page, "/openapi.json") {
		t.Error("the page does not show the description")
	}
}

// A server that is told to end lets requests under way finish, and takes no others.
func TestServerDrains(t *testing.T) {
	r := newRig(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	s := &Server{Handler: r.gateway, ShutdownTimeout: 20 * time.Second, Log: log.logger()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	r.url = "http://" + listener.Addr().String()

	r.begin("draft")
	read, write := io.Pipe()
	done := make(chan reply, 1)
	go func() { done <- r.call("POST", "/v1/jobs/draft/targets", read, "Content-Type", "text/plain") }()
	if _, err := io.WriteString(write, "u1\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is under way", func() bool { return len(r.gateway.clients) == 1 })
	stop()
	eventually(t, "nobody else is let in", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			_ = conn.Close() // it was let in, still
		}
		return err != nil
	})
	if _, err := io.WriteString(write, "u2\n"); err != nil {
		t.Fatal(err)
	}
	_ = write.Close() // never fails
	if got := <-done; got.status != 200 || !strings.Contains(got.body, `"total":2`) {
		t.Errorf("%+v", got)
	}
	if err := <-ended; err != nil || log.count(slog.LevelInfo, "draining: requests under way may finish") != 1 {
		t.Errorf("%v %s", err, log.String())
	}
}

// What does not finish in time is cut off, and nothing of it is stored.
func TestServerCutsOff(t *testing.T) {
	r := newRig(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	s := &Server{Handler: r.gateway, ShutdownTimeout: 50 * time.Millisecond, Log: log.logger()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	r.url = "http://" + listener.Addr().String()
	r.begin("draft")
	before := r.stored()
	read, write := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/jobs/draft/targets", read)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	failed := make(chan error, 1)
	go func() {
		_, err := send(request)
		failed <- err
	}()
	if _, err := io.WriteString(write, strings.Join(manyNames(15_000), "\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a part of it is staged", func() bool { return r.stored() > before })
	stop()
	if err := <-ended; err != nil || log.count(slog.LevelWarn, "requests were cut off, who made them has to repeat them") != 1 {
		t.Errorf("%v %s", err, log.String())
	}
	_ = write.Close() // only now, since the client waits for its end
	if err := <-failed; err == nil {
		t.Error("the client was told that all is well")
	}
	eventually(t, "nothing of it is stored", func() bool { return r.stored() == before })
}
