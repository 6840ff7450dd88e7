package chatsim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	cfg := Config{
		Org: "a b", App: "_sim", ClientID: "id", MaxBody: maxBodyCeiling + 1, TokenCalls: -1, PlanCalls: -1,
		Latency: -1, LatencyJitter: -1,
		Quotas: Quotas{"people": {{}}}, Faults: []Fault{{Kind: "bogus"}},
	}
	_, err := New(cfg)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		`org must be`, `app must be`, "belong together", "token TTL", "max body", "token calls", "max message",
		"max users", "max groups", "max rooms", "max file must", "max files", "plan calls", "latency must not", "jitter must not", `"people"`, `"bogus"`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is missing in:\n%v", part, err)
		}
	}
}

func TestStartTakesLoopbackOnly(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:80", "8090", ""} {
		if _, err := newSim(t, nil).Start(addr); err == nil {
			t.Errorf("%q was taken", addr)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0", "127.9.9.9:80"} {
		if err := CheckLoopback(addr); err != nil {
			t.Error(err)
		}
	}
	s, _ := startSim(t, nil)
	if _, err := s.Start("127.0.0.1:0"); err == nil {
		t.Error("started twice")
	}
	anywhere := newSim(t, func(c *Config) { c.AnyAddress = true })
	if _, err := anywhere.Start("192.0.2.1:0"); !errors.Is(err, syscall.EADDRNOTAVAIL) { // of documentation, nobody's
		t.Errorf("any address: %v", err)
	}
}

func TestConnectionsAreRefusedWhileNotListening(t *testing.T) {
	s, url := startSim(t, nil)
	client := newClient(t)
	if got := observe(t.Context(), client, url); got.status != http.StatusOK {
		t.Fatalf("before: %+v", got)
	}
	if err := s.ResumeListening(); err == nil {
		t.Error("resumed without a stop")
	}
	s.StopListening()
	for range 2 {
		client.CloseIdleConnections()
		if got := observe(t.Context(), client, url); !errors.Is(got.err, syscall.ECONNREFUSED) {
			t.Errorf("meanwhile: %+v", got)
		}
	}
	if err := s.ResumeListening(); err != nil {
		t.Fatal(err)
	}
	if got := observe(t.Context(), client, url); got.status != http.StatusOK {
		t.Errorf("after: %+v", got)
	}
	if n := s.Delivered(Users, "u1"); n != 2 {
		t.Errorf("delivered %d times, want 2", n)
	}
}

func TestOutage(t *testing.T) {
	s, url := startSim(t, nil)
	client := newClient(t)
	s.SetOutage(OutageUnavailable)
	if got := observe(t.Context(), client, url); got.status != http.StatusServiceUnavailable || got.contents != "nothing" {
		t.Errorf("unavailable: %+v", got)
	}
	if got := s.call(t, "/chat-demo/testapp/token", tokenRequest("demo-secret", "")); got.Status != http.StatusServiceUnavailable {
		t.Errorf("token while unavailable: %d", got.Status)
	}
	s.SetOutage(OutageReset)
	if got := observe(t.Context(), client, url); !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("reset: %+v", got)
	}
	s.SetOutage(OutageNone)
	if got := observe(t.Context(), client, url); got.status != http.StatusOK {
		t.Errorf("after: %+v", got)
	}
	if st := s.Stats(); st.Outages != 3 || st.AcceptedCalls != 1 || st.Calls != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestCloseEndsHangs(t *testing.T) {
	s, url := startSim(t, func(c *Config) { c.Faults = []Fault{{Kind: FaultHang, Percent: 100}} })
	client := newClient(t)
	seen := make(chan observed)
	go func() { seen <- observe(context.Background(), client, url) }()
	waitFor(func() bool { return s.Stats().Faults[FaultHang] == 1 && s.Stats().InFlight == 1 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-seen; got.err == nil {
		t.Errorf("the hung call was answered: %+v", got)
	}
	waitFor(func() bool { return s.Stats().InFlight == 0 })
	s.Close() // once more is harmless
}

func TestShutdownLetsCallsFinish(t *testing.T) {
	s, url := startSim(t, func(c *Config) { c.Latency = 50 * time.Millisecond })
	client := newClient(t)
	seen := make(chan observed)
	go func() { seen <- observe(context.Background(), client, url) }()
	waitFor(func() bool { return s.Stats().Calls == 1 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-seen; got.status != http.StatusOK || got.contents != "json" {
		t.Errorf("got %+v", got)
	}
}

// waitFor waits until done, at most as long as go test lets a test run.
func waitFor(done func() bool) {
	for !done() {
		<-time.After(time.Millisecond)
	}
}

func TestReset(t *testing.T) {
	s := newSim(t, func(c *Config) {
		c.PlanCalls = 1
		c.Quotas = Quotas{Users: {{Calls: 1, Window: 24 * time.Hour, Mode: ModeSliding}}}
	})
	for round := range 2 {
		if got := s.call(t, unifiedPath, hello); got.Status != http.StatusOK {
			t.Errorf("round %d: %d %s", round, got.Status, got.Text)
		}
		if st := s.Stats(); st.Calls != 1 || st.AcceptedTargets != 2 || s.Delivered(Users, "u1") != 1 || len(s.Messages()) != 1 {
			t.Errorf("round %d: %+v", round, st)
		}
		s.Reset()
	}
	if st := s.Stats(); st.Calls != 0 || len(st.Statuses) != 0 || !st.FirstAccepted.IsZero() || len(maps.Collect(s.Journal())) != 0 {
		t.Errorf("after the reset: %+v", st)
	}
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, nil)
		first := time.Now()
		s.call(t, unifiedPath, message(Users, "u1", "u2", "u3"))
		<-time.After(time.Minute)
		s.call(t, unifiedPath+"/chatrooms", `{"to":["1"],"type":"txt","body":{"msg":"x"}}`)
		<-time.After(time.Minute)
		s.call(t, unifiedPath, "{}")
		st := s.Stats()
		if !st.FirstAccepted.Equal(first) || !st.LastAccepted.Equal(first.Add(time.Minute)) {
			t.Errorf("accepted from %v to %v", st.FirstAccepted, st.LastAccepted)
		}
		if st.Calls != 3 || st.AcceptedCalls != 2 || st.AcceptedTargets != 4 || st.MostTargets != 3 || st.Peak != 1 || st.InFlight != 0 {
			t.Errorf("stats %+v", st)
		}
		if st.Accepted[Users] != (Traffic{1, 3}) || st.Accepted[Rooms] != (Traffic{1, 1}) || st.Statuses[200] != 2 || st.Statuses[400] != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestConcurrentSenders has many clients send through every kind of trouble
// and holds what they saw against the journal.
func TestConcurrentSenders(t *testing.T) {
	s, url := startSim(t, func(c *Config) {
		c.Faults, _ = ParseFaults("throttle=10,error=5,error_after=5,reset=5,reset_after=5,truncated=5,empty=5,html=5")
	})
	const senders, calls = 8, 40
	client := newClient(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	sent, refused := map[string]bool{}, map[string]bool{}
	for sender := range senders {
		group.Go(func() {
			for n := range calls {
				name := fmt.Sprintf("s%dn%d", sender, n)
				status := post(t, client, url+unifiedPath, message(Users, name, name+"b"))
				mu.Lock()
				switch status {
				case http.StatusOK:
					sent[name] = true
				case http.StatusTooManyRequests, http.StatusBadGateway:
					refused[name] = true
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	journal := maps.Collect(s.Journal())
	total := int64(0)
	for _, n := range journal {
		total += int64(n)
	}
	st := s.Stats()
	if st.Calls != senders*calls || st.AcceptedTargets != total || st.AcceptedTargets != 2*st.AcceptedCalls || st.InFlight != 0 || st.Peak < 1 || st.Peak > senders {
		t.Errorf("%d in the journal, stats %+v", total, st)
	}
	for name := range sent {
		if journal[Key{Users, name}] != 1 || journal[Key{Users, name + "b"}] != 1 {
			t.Errorf("%s was answered 200 and is %d times in the journal", name, journal[Key{Users, name}])
		}
	}
	for name := range refused {
		if journal[Key{Users, name}] != 0 {
			t.Errorf("%s was refused and is in the journal", name)
		}
	}
	if len(sent) == 0 || len(refused) == 0 {
		t.Errorf("%d sent, %d refused: nothing was tested", len(sent), len(refused))
	}
}

// post sends a message; 0 means that no answer came.
func post(t *testing.T, client *http.Client, url, body string) int {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer demo-token")
	resp, err := client.Do(r)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
