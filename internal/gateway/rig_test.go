package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redistest"
	"crier/internal/tasks"
)

// rig is a gateway with a Redis, without a worker.
type rig struct {
	t       *testing.T
	redis   *redistest.Server
	client  redis.UniversalClient
	gateway *Gateway
	url     string
	log     *lines
}

// newRig serves a gateway on loopback. change, nil = none, alters what it is made of.
func newRig(t *testing.T, change func(*Config, *Parts)) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, redis: redistest.Start(t), log: &lines{}}
	r.client = r.redis.Client()
	cfg, parts := DefaultConfig(), partsOn(t, r.client, r.log)
	if change != nil {
		change(&cfg, &parts)
	}
	r.gateway = New(t.Context(), cfg, parts)
	server := httptest.NewServer(r.gateway)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// partsOn are the parts of a gateway that finds its Redis well.
func partsOn(t *testing.T, client redis.UniversalClient, log *lines) Parts {
	t.Helper()
	books := ledger.DefaultConfig()
	book, err := ledger.New(client, books)
	if err != nil {
		t.Fatal(err)
	}
	return Parts{
		Ledger: book, Queue: tasks.NewQueue(client, books.Namespace), Gate: gate.New(client, gate.DefaultConfig()),
		Probe:    func(context.Context) (float64, error) { return 0, nil },
		Trouble:  func(err error) string { return "Redis is lost: " + err.Error() },
		Registry: prometheus.NewRegistry(), Log: log.logger(),
	}
}

// offline is a gateway for what never gets to its Redis: nobody is at its address.
func offline(t *testing.T, change func(*Config, *Parts)) *Gateway {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = client.Close() }) // it was never connected
	cfg, parts := DefaultConfig(), partsOn(t, client, &lines{})
	if change != nil {
		change(&cfg, &parts)
	}
	return New(t.Context(), cfg, parts)
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   string
	broken error // of the stream
}

// call sends a request. headers are names and values in turn.
func (r *rig) call(method, path string, body io.Reader, headers ...string) reply {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	got, err := send(request)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// send sends a request on a connection of its own.
func send(request *http.Request) (reply, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }() // read only
	text, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, body: string(text), broken: err}, nil
}

func (r *rig) get(path string, headers ...string) reply {
	r.t.Helper()
	return r.call(http.MethodGet, path, nil, headers...)
}

func (r *rig) post(path, body string, headers ...string) reply {
	r.t.Helper()
	return r.call(http.MethodPost, path, strings.NewReader(body), headers...)
}

// wants checks the status of an answer.
func (r *rig) wants(got reply, status int) reply {
	r.t.Helper()
	if got.status != status {
		r.t.Fatalf("status %d, want %d: %.500s", got.status, status, got.body)
	}
	return got
}

// refused checks that an answer is a problem document, and returns it.
func refused(t testing.TB, got reply, status int) Problem {
	t.Helper()
	p := decode[Problem](t, got.body)
	if got.status != status || p.Status != status || p.Title == "" || p.Detail == "" || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %s: %.500s; want the problem %d", got.status, got.header.Get("Content-Type"), got.body, status)
	}
	return p
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %.500q", err, text)
	}
	return v
}

// stored is the number of keys in Redis.
func (r *rig) stored() int64 {
	r.t.Helper()
	n, err := r.client.DBSize(r.t.Context()).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(until) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// lines is a log, as JSON lines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count is how many lines of a level have a message.
func (l *lines) count(level slog.Level, message string) (n int) {
	for text := range strings.Lines(l.String()) {
		var line struct{ Level, Msg string }
		if json.Unmarshal([]byte(text), &line) == nil && line.Level == level.String() && line.Msg == message {
			n++
		}
	}
	return n
}

// document is a send job to users.
func document(names ...string) string {
	list, _ := json.Marshal(names) // strings
	return `{"target_type":"users","target":` + string(list) + `,"msg":{"type":"txt","msg":"hello"}}`
}

// draft is a send job without targets.
const draft = `{"target_type":"users","msg":{"type":"txt","msg":"hello"}}`

// begin makes a loading job.
func (r *rig) begin(id string) {
	r.t.Helper()
	r.wants(r.post("/v1/jobs", draft, "Idempotency-Key", id), 202)
}

// job is the status of a job.
func (r *rig) job(id string) tasks.Status {
	r.t.Helper()
	return decode[tasks.Status](r.t, r.wants(r.get("/v1/jobs/"+id), 200).body)
}
