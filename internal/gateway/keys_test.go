package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		keys int // 0 = refused
	}{
		"one":           {"secret", 1},
		"several":       {"one,two,three", 3},
		"lines":         {"one\r\ntwo\n\n three \n", 3},
		"both":          {" one , two\nthree,", 3},
		"empty":         {"", 0},
		"only commas":   {" ,\n, ", 0},
		"a space in it": {"one two", 0},
		"a tab in it":   {"one\ttwo", 0},
		"not ASCII":     {"schlüssel", 0},
		"a good and a bad": {
			"good,b ad", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseKeys(tt.text)
			if keys.Count() != tt.keys || (err == nil) != (tt.keys > 0) {
				t.Errorf("%d keys, %v", keys.Count(), err)
			}
			if err != nil && strings.Contains(err.Error(), "good") {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

// showing is a request with an Authorization header.
func showing(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/jobs", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func TestAdmit(t *testing.T) {
	keys, err := ParseKeys("one,two,a=b/c+d")
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]bool{
		"Bearer one":     true,
		"Bearer two":     true,
		"bearer one":     true,
		"BEARER one":     true,
		"Bearer   one  ": true,
		"Bearer a=b/c+d": true,
		"":               false,
		"one":            false,
		"Bearer":         false,
		"Bearer ":        false,
		"Bearer three":   false,
		"Bearer One":     false,
		"Bearer on":      false,
		"Bearer onetwo":  false,
		"Bearer one,two": false,
		"Bearer one two": false,
		"Basic one":      false,
		"Bearerone":      false,
	} {
		if got := keys.admit(showing(header)); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// A file of keys is read again once it has changed; while it cannot be read or
// has no key, the old ones count.
func TestKeysAreReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	written := time.Now()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		written = written.Add(time.Minute)
		if err := os.Chtimes(file, written, written); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	synctest.Test(t, func(t *testing.T) {
		var log lines
		keys, err := ReadKeys(file, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		admits := func(want ...string) {
			t.Helper()
			for _, key := range []string{"first", "later", "added"} {
				if got := keys.admit(showing("Bearer " + key)); got != strings.Contains(strings.Join(want, " "), key) {
					t.Errorf("%s: %v", key, got)
				}
			}
		}
		second := func() { <-time.After(lookEvery) }
		admits("first")
		write("later\nadded")
		admits("first") // the file was looked at just now
		second()
		admits("later", "added")
		for _, broken := range []string{"", "\n", "no good"} {
			write(broken)
			second()
			admits("later", "added")
		}
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
		second()
		admits("later", "added")
		write("later")
		second()
		admits("later")
		if again, kept := log.count(slog.LevelInfo, "API keys were read anew"), log.count(slog.LevelWarn, "the API keys cannot be read anew, the old ones still count"); again != 2 || kept != 4 {
			t.Errorf("told %d times of new keys, %d times of broken ones:\n%s", again, kept, log.String())
		}
		for _, key := range []string{"first", "later", "added"} {
			if strings.Contains(log.String(), key) {
				t.Errorf("the log shows a key: %s", log.String())
			}
		}
	})
}

func TestReadKeysNeedsAFileWithKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if _, err := ReadKeys(file, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an absent file will do")
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("an empty file: %v", err)
	}
}

// Every call but a few needs a key, and none of the others tells anything without it.
func TestKeysAreNeeded(t *testing.T) {
	r := newRig(t, func(_ *Config, p *Parts) { p.Keys, _ = ParseKeys("s3cret,other") }) // both are keys
	for _, call := range []string{
		"POST /v1/jobs", "POST /v1/jobs/j/targets", "POST /v1/jobs/j/start", "GET /v1/jobs", "GET /v1/jobs/j", "GET /v1/jobs/j/results",
		"POST /v1/jobs/j/pause", "POST /v1/jobs/j/resume", "POST /v1/jobs/j/cancel", "POST /v1/jobs/j/resend", "DELETE /v1/jobs/j",
		"POST /v1/plan", "POST /v1/files", "POST /org/app/messages", "POST /org/app/messages/users", "GET /metrics",
		"GET /nothing", "PUT /v1/jobs", "GET /docs/../metrics", "GET /docsx", "GET //healthz",
	} {
		method, path, _ := strings.Cut(call, " ")
		for _, key := range []string{"", "Bearer wrong-key", "Basic s3cret", "s3cret"} {
			got := r.call(method, path, nil, "Authorization", key)
			if p := refused(t, got, 401); got.header.Get("WWW-Authenticate") != `Bearer realm="crier"` || strings.Contains(got.body, "wrong-key") {
				t.Errorf("%s with %q: %v %+v", call, key, got.header, p)
			}
		}
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d keys in Redis after refused requests", n)
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/"} {
		r.wants(r.get(path), 200)
	}
	for _, key := range []string{"Bearer s3cret", "bearer other"} {
		r.wants(r.get("/v1/jobs", "Authorization", key), 200)
		r.wants(r.get("/metrics", "Authorization", key), 200)
	}
}

// Without keys, only programs of this machine are served: not a page in a browser,
// whatever name its server has.
func TestGuardWithoutKeys(t *testing.T) {
	r := newRig(t, nil)
	for name, tt := range map[string]struct {
		method, host string
		headers      []string
		want         int
	}{
		"as it listens":     {method: "GET", want: 200},
		"name":              {method: "GET", host: "localhost:8080", want: 200},
		"name in capitals":  {method: "GET", host: "LOCALHOST", want: 200},
		"IPv6":              {method: "GET", host: "[::1]:8080", want: 200},
		"IPv6 without port": {method: "GET", host: "[::1]", want: 200},
		"another loopback":  {method: "GET", host: "127.8.0.1", want: 200},
		"foreign name":      {method: "GET", host: "evil.example:8080", want: 403},
		"foreign address":   {method: "GET", host: "192.0.2.1", want: 403},
		"looks like ours":   {method: "GET", host: "localhost.evil.example", want: 403},
		"begins like ours":  {method: "GET", host: "127.0.0.1.evil.example", want: 403},
		"a page reads":      {method: "GET", headers: []string{"Sec-Fetch-Site", "cross-site"}, want: 200}, // it does not see the answer
		"a page posts":      {method: "POST", headers: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		"a page deletes":    {method: "DELETE", headers: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		"same site":         {method: "POST", headers: []string{"Sec-Fetch-Site", "same-site"}, want: 403},
		"same origin":       {method: "POST", headers: []string{"Sec-Fetch-Site", "same-origin"}, want: 400},
		"typed by a person": {method: "POST", headers: []string{"Sec-Fetch-Site", "none"}, want: 400},
		"foreign origin":    {method: "POST", headers: []string{"Origin", "http://evil.example"}, want: 403},
		"no origin":         {method: "POST", headers: []string{"Origin", "null"}, want: 403},
		"other port's":      {method: "POST", headers: []string{"Origin", "http://127.0.0.1:1"}, want: 403},
		"own origin":        {method: "POST", host: "localhost:8080", headers: []string{"Origin", "http://localhost:8080"}, want: 400},
		"no browser":        {method: "POST", want: 400},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), tt.method, r.url+"/v1/jobs", strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			if tt.method == http.MethodDelete {
				request.URL.Path = "/v1/jobs/j"
			}
			request.Host = tt.host
			for i := 0; i < len(tt.headers); i += 2 {
				request.Header.Set(tt.headers[i], tt.headers[i+1])
			}
			got, err := send(request)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != tt.want {
				t.Errorf("status %d, want %d: %s", got.status, tt.want, got.body)
			}
			if tt.want == 403 {
				refused(t, got, 403)
			}
		})
	}
}

// With keys, any name will do: whoever has a key is let in.
func TestHostWithKeys(t *testing.T) {
	r := newRig(t, func(_ *Config, p *Parts) { p.Keys, _ = ParseKeys("s3cret") }) // a key
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/jobs", strings.NewReader(document("u1")))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "crier.example"
	request.Header.Set("Authorization", "Bearer s3cret")
	request.Header.Set("Origin", "https://console.example")
	got, err := send(request)
	if err != nil || got.status != 202 {
		t.Errorf("%v %+v", err, got)
	}
}

func TestOnlyLocal(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:8080":   true,
		"127.1.2.3:0":      true,
		"[::1]:8080":       true,
		"localhost:8080":   true,
		"LocalHost:0":      true,
		"0.0.0.0:8080":     false,
		":8080":            false,
		"[::]:8080":        false,
		"192.168.0.1:8080": false,
		"crier.example:80": false,
		"localhost.evil:1": false,
		"127.0.0.1":        false, // no address to listen on
		"":                 false,
	} {
		if got := OnlyLocal(addr); got != want {
			t.Errorf("%q: %v", addr, got)
		}
	}
}
