package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"crier/internal/ledger"
	"crier/internal/redistest"
	"crier/internal/tasks"
)

// newYardstick serves the gateway without Redis.
func newYardstick(t *testing.T) *door {
	t.Helper()
	handler, err := yardstick(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &door{url: server.URL, client: server.Client()}
}

func TestYardstickTakesJobs(t *testing.T) {
	d := newYardstick(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/v1/jobs", strings.NewReader(string(urgentDocument(7))))
	if err != nil {
		t.Fatal(err)
	}
	var s tasks.Status
	if err := d.do(request, http.StatusAccepted, &s); err != nil {
		t.Fatal(err)
	}
	if s.State != ledger.StateRunning || s.Priority != "urgent" || s.Total != 1 || s.Pending != 1 || s.CreatedAt == nil {
		t.Errorf("the job: %+v", s)
	}
	got, err := d.asks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Made != 1 || got.Trips["EVALSHA job"] != 1 || got.Trips["HGETALL job"] != 1 || got.Trips["SADD of asynq"] != 1 {
		t.Errorf("Redis in memory was asked %+v", got)
	}
}

// A gateway that asks for what is not played must fail, not seem quick.
func TestMemoryKnowsItsLimits(t *testing.T) {
	d := newYardstick(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/v1/jobs/x/start", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.do(request, http.StatusAccepted, nil); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("a call that needs another script: %v", err)
	}
	_, client := newMemory()
	defer func() { _ = client.Close() }()
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err == nil || !strings.Contains(err.Error(), "does not know SET k") {
		t.Errorf("SET: %v", err)
	}
	if n, err := client.Exists(t.Context(), "k").Result(); n != 0 || err != nil {
		t.Errorf("EXISTS: %d, %v", n, err)
	}
}

func TestYardstickWantsItsKey(t *testing.T) {
	d := newYardstick(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/v1/jobs", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := d.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %s", response.Status)
	}
}

func TestAttackCountsAndFails(t *testing.T) {
	d := newYardstick(t)
	got, err := d.attack(load{Jobs: 20, Clients: 3}, "/v1/jobs")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := d.asks(t.Context()); err != nil || got.jobs != 20 || a.Made != 20 || got.rate <= 0 || got.p99 < got.p50 {
		t.Errorf("%+v, of which there are %d, %v", got, a.Made, err)
	}
	if _, err := d.attack(load{Jobs: 5, Clients: 2}, "/v1/nothing"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("jobs that nobody takes: %v", err)
	}
}

func TestReadBody(t *testing.T) {
	dir := t.TempDir()
	text, packed := dir+"/names", dir+"/names.gz"
	if err := writeNames(text, kindMixed, 1000); err != nil {
		t.Fatal(err)
	}
	if err := packFile(packed, text); err != nil {
		t.Fatal(err)
	}
	d := newYardstick(t)
	for _, l := range []*encodedList{{path: text}, {path: packed, encoding: encodingGzip}} {
		if err := d.post(t.Context(), l, pathRead, http.StatusAccepted, nil); err != nil {
			t.Error(err)
		}
	}
	if err := d.post(t.Context(), &encodedList{path: text, encoding: encodingGzip}, pathRead, http.StatusAccepted, nil); err == nil {
		t.Error("text was unpacked")
	}
}

func TestHolds(t *testing.T) {
	s := &site{redisURL: redistest.Start(t).URL}
	if err := s.holds(t.Context(), 0); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := s.holds(t.Context(), 1); err == nil {
		t.Error("a job that is not there was found")
	}
	if err := s.runs(t.Context(), "bench", 1); err == nil {
		t.Error("a list that is not there was found")
	}
}

func TestTripsSince(t *testing.T) {
	got := trips{"GET": 5, "SADD": 1, "TIME": 2}.since(trips{"GET": 2, "SADD": 1})
	if diff := cmp.Diff(trips{"GET": 3, "TIME": 2}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.sum() != 5 {
		t.Errorf("in sum %d", got.sum())
	}
}

func TestCheckTrips(t *testing.T) {
	without := jobRound{answers: answers{jobs: 1000}, trips: trips{"GET": 6000, "TIME": 2000}}
	for reads, ok := range map[float64]bool{8: true, 8.39: true, 8.5: true, 7.61: true, 7.5: false, 9: false} {
		served := jobRound{answers: answers{jobs: 1000}, reads: reads}
		if err := checkTrips(served, without, 50); (err == nil) != ok {
			t.Errorf("%v reads beside 8 round trips: %v", reads, err)
		}
	}
}

func TestUrgentDocument(t *testing.T) {
	var d struct {
		Target  []string          `json:"target"`
		Options map[string]string `json:"options"`
	}
	if err := json.Unmarshal(urgentDocument(3), &d); err != nil || len(d.Target) != 1 || d.Options["priority"] != "urgent" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestLoadEnds(t *testing.T) {
	l := load{Jobs: 3}
	if _, stop := l.Pace(time.Second, 2); stop {
		t.Error("it ends early")
	}
	if wait, stop := l.Pace(0, 3); wait != 0 || !stop {
		t.Errorf("it waits %v and goes on", wait)
	}
}
