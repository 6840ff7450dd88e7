package chatsim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseFaults(t *testing.T) {
	got, err := ParseFaults("throttle=5:retry_after=1500ms, reset=0.5 ,slow=10:delay=3s")
	if err != nil {
		t.Fatal(err)
	}
	want := []Fault{
		{Kind: FaultThrottle, Percent: 5, RetryAfter: 1500 * time.Millisecond},
		{Kind: FaultReset, Percent: 0.5},
		{Kind: FaultSlow, Percent: 10, Delay: 3 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = ParseFaults("throttle,reset=x,html=101,bogus=1,slow=1:delay=x,slow=1:after=1s,hang=1:retry_after=1s,empty=-1,error=1:delay=-1s")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{`"throttle"`, `"reset=x"`, "html: percent", `"bogus"`, "delay needs a duration", "unknown option after", "hang: only throttle", "empty: percent", "error: delay", "at most 100"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is missing in:\n%v", part, err)
		}
	}
}

// observed is what a real client saw of one call.
type observed struct {
	status     int
	contents   string // json, html or nothing
	retryAfter string
	err        error // of the call, or of reading its body
}

func observe(ctx context.Context, client *http.Client, url string) observed {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+unifiedPath, strings.NewReader(hello))
	if err != nil {
		return observed{err: err}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer demo-token")
	resp, err := client.Do(r)
	if err != nil {
		return observed{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	got := observed{status: resp.StatusCode, contents: "other", retryAfter: resp.Header.Get("Retry-After"), err: err}
	switch {
	case len(body) == 0:
		got.contents = "nothing"
	case strings.HasPrefix(string(body), "<html>") && resp.Header.Get("Content-Type") == "text/html":
		got.contents = "html"
	case json.Valid(body) && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
		got.contents = "json"
	}
	return got
}

// newClient is a real client with connections of its own.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func startSim(t *testing.T, change func(*Config)) (*Server, string) {
	t.Helper()
	s := newSim(t, change)
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s, url
}

func TestFaultsAsARealClientSeesThem(t *testing.T) {
	isReset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
	isTimeout := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	isCut := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	for _, tt := range []struct {
		kind       FaultKind
		status     int // 0: no answer
		contents   string
		broken     func(error) bool // nil: the answer can be read
		accepted   int
		retryAfter time.Duration
		header     string
	}{
		{kind: FaultThrottle, status: 429, contents: "json"},
		{kind: FaultThrottle, status: 429, contents: "json", retryAfter: 1500 * time.Millisecond, header: "2"},
		{kind: FaultReachLimit, status: 403, contents: "json"},
		{kind: FaultUnavailable, status: 503, contents: "nothing"},
		{kind: FaultUnavailable, status: 503, contents: "nothing", retryAfter: 3 * time.Second, header: "3"},
		{kind: FaultError, status: 500, contents: "json"},
		{kind: FaultHTML, status: 502, contents: "html"},
		{kind: FaultReset, broken: isReset},
		{kind: FaultHang, broken: isTimeout},
		{kind: FaultReject, status: 400, contents: "json"},
		{kind: FaultForbidden, status: 403, contents: "json"},
		{kind: FaultErrorAfter, status: 500, contents: "json", accepted: 1},
		{kind: FaultHTMLAfter, status: 502, contents: "html", accepted: 1},
		{kind: FaultResetAfter, broken: isReset, accepted: 1},
		{kind: FaultHangAfter, broken: isTimeout, accepted: 1},
		{kind: FaultGatewayTimeoutAfter, status: 504, contents: "html", accepted: 1},
		{kind: FaultTruncated, status: 200, contents: "other", broken: isCut, accepted: 1},
		{kind: FaultEmpty, status: 200, contents: "nothing", accepted: 1},
		{kind: FaultSlow, status: 200, contents: "json", accepted: 1},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			s, url := startSim(t, func(c *Config) {
				c.Faults = []Fault{{Kind: tt.kind, Percent: 100, RetryAfter: tt.retryAfter}}
			})
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			if tt.kind == FaultHang || tt.kind == FaultHangAfter {
				// The client gives up once the call hangs.
				go func() {
					waitFor(func() bool { return s.Stats().Faults[tt.kind] > 0 })
					cancel(context.DeadlineExceeded)
				}()
			}
			got := observe(ctx, newClient(t), url)
			if errors.Is(got.err, context.Canceled) {
				got.err = context.Cause(ctx)
			}
			if got.status != tt.status || got.contents != tt.contents || got.retryAfter != tt.header {
				t.Errorf("got %+v", got)
			}
			if (got.err != nil) != (tt.broken != nil) || got.err != nil && !tt.broken(got.err) {
				t.Errorf("got the error %v", got.err)
			}
			if n := s.Delivered(Users, "u1"); n != tt.accepted {
				t.Errorf("accepted %d times, want %d", n, tt.accepted)
			}
			if st := s.Stats(); st.Faults[tt.kind] != 1 || len(st.Refused) != 0 || st.AcceptedCalls != int64(tt.accepted) {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestFaultsSpareWhatTheRulesRefuse(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Faults = []Fault{{Kind: FaultErrorAfter, Percent: 100}} })
	if got := s.call(t, unifiedPath, `{"target":["u1"]}`); got.Status != http.StatusBadRequest {
		t.Errorf("got %d %s", got.Status, got.Text)
	}
	if st := s.Stats(); st.Faults[FaultErrorAfter] != 0 {
		t.Errorf("faults %v", st.Faults)
	}
}

func TestReachLimitFaultInOldWording(t *testing.T) {
	s := newSim(t, func(c *Config) {
		c.OldWording, c.Faults = true, []Fault{{Kind: FaultReachLimit, Percent: 100}}
	})
	if got := s.call(t, unifiedPath, hello); got.Description != "Forbidden for url" {
		t.Errorf("got %d %s", got.Status, got.Text)
	}
}

func TestFaultsAreDrawnBySeed(t *testing.T) {
	const calls = 2000
	sequence := func(seed int64) (statuses []int) {
		s := newSim(t, func(c *Config) {
			c.Seed, c.Faults = seed, []Fault{{Kind: FaultThrottle, Percent: 20}, {Kind: FaultErrorAfter, Percent: 10}}
		})
		for range calls {
			statuses = append(statuses, s.call(t, unifiedPath, hello).Status)
		}
		return statuses
	}
	first := sequence(7)
	if diff := cmp.Diff(first, sequence(7)); diff != "" {
		t.Error("the same seed gave two sequences")
	}
	if cmp.Equal(first, sequence(8)) {
		t.Error("two seeds gave the same sequence")
	}
	counts := map[int]int{}
	for _, status := range first {
		counts[status]++
	}
	for status, percent := range map[int]int{429: 20, 500: 10, 200: 70} {
		if want := calls * percent / 100; counts[status] < want-80 || counts[status] > want+80 {
			t.Errorf("%d answered %d times of %d, want about %d", status, counts[status], calls, want)
		}
	}
}

func TestDelaysAndLatency(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		change   func(*Config)
		least    time.Duration
		most     time.Duration
		leave    time.Duration // the client leaves then; 0 = it stays
		accepted int
	}{
		{"latency", func(c *Config) { c.Latency = 80 * ms }, 80 * ms, 80 * ms, 0, 1},
		{"jitter", func(c *Config) { c.Latency, c.LatencyJitter = 80*ms, 20*ms }, 81 * ms, 99 * ms, 0, 1},
		{"a client that leaves on the way there", func(c *Config) { c.Latency = 80 * ms }, 39 * ms, 39 * ms, 39 * ms, 0},
		{"a client that leaves on the way back", func(c *Config) { c.Latency = 80 * ms }, 41 * ms, 41 * ms, 41 * ms, 1},
		{"slow", func(c *Config) { c.Faults = []Fault{{Kind: FaultSlow, Percent: 100, Delay: time.Hour}} }, time.Hour, time.Hour, 0, 1},
		{"delayed and gone, accepted before", func(c *Config) { c.Faults = []Fault{{Kind: FaultErrorAfter, Percent: 100, Delay: 9 * ms}} }, 5 * ms, 5 * ms, 5 * ms, 1},
		{"delayed and gone, not accepted", func(c *Config) { c.Faults = []Fault{{Kind: FaultError, Percent: 100, Delay: 9 * ms}} }, 5 * ms, 5 * ms, 5 * ms, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, tt.change)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if tt.leave > 0 {
					time.AfterFunc(tt.leave, cancel)
				}
				start := time.Now()
				aborted := callAborts(ctx, s)
				if took := time.Since(start); took < tt.least || took > tt.most {
					t.Errorf("it took %v, want %v to %v", took, tt.least, tt.most)
				}
				if aborted != (tt.leave > 0) {
					t.Errorf("ended without a word: %v", aborted)
				}
				if n := s.Delivered(Users, "u1"); n != tt.accepted {
					t.Errorf("accepted %d times, want %d", n, tt.accepted)
				}
				if unanswered := s.Stats().Unanswered; unanswered == 1 != aborted {
					t.Errorf("%d unanswered", unanswered)
				}
			})
		})
	}
}

// callAborts reports whether a call was ended without an answer.
func callAborts(ctx context.Context, s *Server) (aborted bool) {
	defer func() {
		err, _ := recover().(error)
		aborted = errors.Is(err, http.ErrAbortHandler)
	}()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, unifiedPath, strings.NewReader(hello))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer demo-token")
	s.ServeHTTP(httptest.NewRecorder(), r)
	return false
}
