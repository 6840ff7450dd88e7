package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"crier/internal/settings"
)

func TestAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/away", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Redis cannot be reached"+strings.Repeat("!", 1000), http.StatusServiceUnavailable)
	})
	mux.Handle("/moved", http.RedirectHandler("/ready", http.StatusFound))
	mux.HandleFunc("/none", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port at which nobody will listen
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	_ = listener.Close()
	t.Setenv("HTTP_PROXY", nobody)

	for _, tt := range []struct {
		url     string
		timeout time.Duration
		code    int
		reason  string
	}{
		{server.URL + "/ready", timeout, settings.ExitOK, "^$"},
		{server.URL + "/away", timeout, settings.ExitFail, `^healthcheck: 503 Service Unavailable: Redis cannot be reached!{489}\n$`},
		{server.URL + "/moved", timeout, settings.ExitFail, "^healthcheck: 302 Found: "},
		{server.URL + "/none", timeout, settings.ExitFail, "^healthcheck: 204 No Content"},
		{server.URL + "/slow", 10 * time.Millisecond, settings.ExitFail, "^healthcheck: no answer: .*deadline exceeded"},
		{nobody, timeout, settings.ExitFail, "^healthcheck: no answer: .*refused"},
		{"http://%", timeout, settings.ExitFail, "^healthcheck: .*invalid URL"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run([]string{tt.url}, &stdout, &stderr, tt.timeout); code != tt.code {
			t.Errorf("%s: exit %d, want %d", tt.url, code, tt.code)
		}
		if !regexp.MustCompile(tt.reason).MatchString(stderr.String()) {
			t.Errorf("%s: %q does not match %s", tt.url, &stderr, tt.reason)
		}
		if stdout.Len() != 0 {
			t.Errorf("%s: standard output: %s", tt.url, &stdout)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"localhost:80"}, {"http://a", "http://b"}, {"--help"}} {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr, timeout); code != settings.ExitUsage || !strings.HasPrefix(stderr.String(), "usage: ") {
			t.Errorf("%q: exit %d, %q", args, code, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--version"}, &stdout, &stderr, timeout); code != settings.ExitOK || stdout.Len() < 2 {
		t.Errorf("--version: exit %d, %q", code, &stdout)
	}
}
