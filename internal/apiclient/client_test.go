package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const testToken = "YWMtTokenOfTheTests_0123456789"

// newClient returns a client for the server at url, closed with the test.
func newClient(tb testing.TB, url string, change ...func(*Config)) *Client {
	tb.Helper()
	config := DefaultConfig()
	config.BaseURL, config.Org, config.App = url, "chat-demo", "testapp"
	config.Tokens = FixedToken(testToken)
	for _, c := range change {
		c(&config)
	}
	client, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

func serve(tb testing.TB, handler http.HandlerFunc) *httptest.Server {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server
}

// usersCall is a whole call to these users.
func usersCall(users ...string) Call {
	call := callOf(users...)
	list, _ := json.Marshal(users)
	call.Body = fmt.Appendf(nil, `{"target_type":"users","target":%s,"msg":{"type":"txt","msg":"x"}}`, list)
	return call
}

// wantError sends and returns the *Error that this must end with.
func wantError(ctx context.Context, t *testing.T, client *Client, call Call) *Error {
	t.Helper()
	answer, err := client.Send(ctx, call)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, answer %+v", err, answer)
	}
	if diff := cmp.Diff(Answer{}, answer); diff != "" {
		t.Errorf("an answer beside an error: %s", diff)
	}
	return e
}

func TestSend(t *testing.T) {
	tests := []struct {
		name     string
		form     Form
		ids      bool
		target   TargetType
		url      string
		endpoint string
	}{
		{"unified", FormUnified, false, Users, "/chat-demo/testapp/messages", "messages"},
		{"unified groups", FormUnified, false, ChatGroups, "/chat-demo/testapp/messages", "messages"},
		{"unified with ids", FormUnified, true, Users, "/chat-demo/testapp/messages?useMsgId=true", "messages"},
		{"split users", FormSplit, true, Users, "/chat-demo/testapp/messages/users", "messages_users"},
		{"split groups", FormSplit, false, ChatGroups, "/chat-demo/testapp/messages/chatgroups", "messages_chatgroups"},
		{"split rooms", FormSplit, false, ChatRooms, "/chat-demo/testapp/messages/chatrooms", "messages_chatrooms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			call := usersCall("user2", "user3")
			call.TargetType = tt.target
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodPost || r.URL.String() != tt.url || string(body) != string(call.Body) {
					t.Errorf("%s %s with %s", r.Method, r.URL, body)
				}
				want := http.Header{
					"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"crier"},
					"Authorization": {"Bearer " + testToken}, "Content-Length": {fmt.Sprint(len(call.Body))},
				}
				if diff := cmp.Diff(want, r.Header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				_, _ = fmt.Fprint(w, fixture(t, "200_message_ids.json"))
			})
			var seen []string
			client := newClient(t, server.URL+"/", func(c *Config) {
				c.Form, c.MessageIDs = tt.form, tt.ids
				c.Observe = func(endpoint string, status int, d time.Duration) {
					if d <= 0 {
						t.Errorf("took %v", d)
					}
					seen = append(seen, fmt.Sprintf("%s %d", endpoint, status))
				}
			})
			got, err := client.Send(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			var want Answer
			if tt.ids {
				want.IDs = []string{"1029457500870543736", "1029457500870543737"}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{tt.endpoint + " 200"}, seen); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
		})
	}
}

// Every answer of the tables over the wire, all on one connection: their bodies
// are read to the end.
func TestSendClassifies(t *testing.T) {
	var connections atomic.Int32
	status, body := 0, ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	server.Config.ConnState = countNew(&connections)
	server.Start()
	defer server.Close()
	observed := 0
	client := newClient(t, server.URL, func(c *Config) {
		c.Observe = func(endpoint string, got int, _ time.Duration) {
			observed++
			if endpoint != "messages" || got != status {
				t.Errorf("observed %s %d, want %d", endpoint, got, status)
			}
		}
	})
	sent := 0
	for _, row := range answers {
		if row.status < 200 {
			continue // in HTTP no answer of its own
		}
		sent++
		status, body = row.status, ""
		if row.fixture != "" {
			body = fixture(t, row.fixture)
		}
		call := Call{TargetType: Users, Body: []byte("{}"), Lines: []byte(strings.Repeat("u\n", 601)), Count: 601}
		want := row.want
		want.Status, want.RetryAfter, want.Body = status, 3*time.Second, body
		got := wantError(t.Context(), t, client, call)
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(Error{}, "Description")); diff != "" {
			t.Errorf("%d %s (-want +got):\n%s", row.status, row.fixture, diff)
		}
	}
	if observed != sent {
		t.Errorf("observed %d times, want %d", observed, sent)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A limit that the call keeps is a limit of something else.
func TestSendLimitOfSomethingElse(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, fixture(t, "400_too_many_groups.json"))
	})
	client := newClient(t, server.URL)
	if e := wantError(t.Context(), t, client, usersCall("a", "b", "c", "d")); e.Kind != KindTooMany || e.Limit != 3 {
		t.Errorf("four targets: %+v", e)
	}
	if e := wantError(t.Context(), t, client, usersCall("a", "b", "c")); e.Kind != KindRejected || e.Limit != 0 {
		t.Errorf("three targets: %+v", e)
	}
}

func TestSendRefusesWrongCalls(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	client := newClient(t, server.URL)
	for name, call := range map[string]Call{
		"target type":   {TargetType: "all", Lines: []byte("a"), Count: 1},
		"no targets":    {TargetType: Users},
		"no lines":      {TargetType: Users, Count: 1},
		"too few lines": {TargetType: Users, Lines: []byte("a\n"), Count: 2},
		"too many":      {TargetType: Users, Lines: []byte("a\nb"), Count: 1},
	} {
		if e := wantError(t.Context(), t, client, call); e.Kind != KindRejected || e.Status != 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestSendNeverFollowsRedirects(t *testing.T) {
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed with %s", r.Header.Get("Authorization"))
	})
	location := ""
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	client := newClient(t, server.URL)
	for _, location = range []string{elsewhere.URL, "", "://%zz"} {
		if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnknownApp || e.Status != 307 {
			t.Errorf("to %q: %+v", location, e)
		}
	}
}

// A 2xx that cannot be read leaves the outcome unknown.
func TestSendUnreadableSuccess(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		status  int
		text    string
		body    string
	}{
		{
			"HTML", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>hello</html>") },
			200, "the answer is no JSON", "<html>hello</html>",
		},
		{
			"empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
			204, "the answer is empty", "",
		},
		{
			"truncated JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"data":{"a":`) },
			200, "unexpected end of JSON input", `{"data":{"a":`,
		},
		{"connection lost", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprint(w, `{"data":{"a":"success"}}`)
		}, 200, "reading the answer: unexpected EOF", `{"data":{"a":"success"}}`},
		{
			"no data", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"action":"post"}`) },
			200, "no data object", `{"action":"post"}`,
		},
		{"too long", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"x":"%s","data":{"a":"success"}}`, strings.Repeat("x", maxAnswer))
		}, 200, "reading the answer: over 262144 bytes", `{"x":"` + strings.Repeat("x", maxText-6)},
		{"compressed unasked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = fmt.Fprint(w, "\x1f\x8b")
		}, 200, "the answer is no JSON", "\x1f\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := wantError(t.Context(), t, newClient(t, serve(t, tt.handler).URL), usersCall("a"))
			if e.Kind != KindUnknown || e.Status != tt.status || e.Body != tt.body || !strings.Contains(e.Error(), tt.text) {
				t.Errorf("%v: %+v", e, *e)
			}
		})
	}
}

// Error bodies are read and kept within bounds, and the status outlives a body
// that breaks off; but no more is final then.
func TestSendBoundsErrorBodies(t *testing.T) {
	tests := []struct {
		name    string
		kind    Kind
		handler http.HandlerFunc
	}{
		{"huge", KindNotAllowed, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(w, strings.Repeat("x", 4*maxErrorBody))
		}},
		{"broken off", KindUnavailable, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(w, strings.Repeat("x", 2*maxText))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := wantError(t.Context(), t, newClient(t, serve(t, tt.handler).URL), usersCall("a"))
			if e.Kind != tt.kind || e.Status != 403 || e.Body != strings.Repeat("x", maxText) {
				t.Errorf("%+v", *e)
			}
			var read bytes.Buffer
			client := newClient(t, serve(t, tt.handler).URL)
			_, _ = client.wire.post(t.Context(), post{url: client.url}, &read)
			if read.Len() > maxErrorBody+1 {
				t.Errorf("%d bytes were read", read.Len())
			}
		})
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	echoes := map[string]http.HandlerFunc{
		"error body": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{
				"error": r.Header.Get("Authorization"), "error_description": "bad header " + r.Header.Get("Authorization"),
			})
		},
		"HTML": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = fmt.Fprintf(w, "<pre>%v</pre>", r.Header)
		},
		"200": func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header) },
	}
	for name, handler := range echoes {
		t.Run(name, func(t *testing.T) {
			e := wantError(t.Context(), t, newClient(t, serve(t, handler).URL), usersCall("a"))
			if shown := fmt.Sprintf("%v %+v %q", e, *e, e.Body); strings.Contains(shown, testToken) || !strings.Contains(shown, masked) {
				t.Error(shown)
			}
		})
	}
	t.Run("failure of a target", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, `{"data":{"a":"not with %s"}}`, r.Header.Get("Authorization"))
		})
		got, err := newClient(t, server.URL).Send(t.Context(), usersCall("a"))
		if err != nil {
			t.Fatal(err)
		}
		if want := []TargetFailure{{0, "not with Bearer ***"}}; !cmp.Equal(want, got.Failed) {
			t.Errorf("%+v", got.Failed)
		}
	})
	t.Run("no connection", func(t *testing.T) {
		server := serve(t, nil)
		server.Close()
		e := wantError(t.Context(), t, newClient(t, server.URL), usersCall("a"))
		if shown := fmt.Sprintf("%v %+v", e, *e); strings.Contains(shown, testToken) || strings.Contains(shown, "http://") {
			t.Error(shown)
		}
	})
	t.Run("printed settings", func(t *testing.T) {
		shown := fmt.Sprintf("%v %+v", FixedToken(testToken), Config{Tokens: FixedToken(testToken)})
		if strings.Contains(shown, testToken) {
			t.Error(shown)
		}
	})
}

func TestSendWithoutUsableToken(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	for _, token := range []string{"", "two words", "line\nbreak", "ü"} {
		client := newClient(t, server.URL, func(c *Config) { c.Tokens = FixedToken(token) })
		if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized || e.Status != 0 {
			t.Errorf("%q: %+v", token, e)
		}
	}
}

// A fixed token has nothing to be replaced by: one attempt, wrong settings.
func TestSendFixedTokenRefused(t *testing.T) {
	var requests atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, fixture(t, "401_auth_bad_access_token.json"))
	})
	e := wantError(t.Context(), t, newClient(t, server.URL), usersCall("a"))
	if e.Kind != KindUnauthorized || e.Error() != "apiclient: send: 401 auth_bad_access_token" || requests.Load() != 1 {
		t.Errorf("%v after %d requests", e, requests.Load())
	}
}

// Many calls at a time, each with its own answer, on connections that are used again.
func TestSendConcurrently(t *testing.T) {
	const workers, calls = 8, 30
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Target []string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		_, _ = fmt.Fprintf(w, `{"data":{%q:"failed %s",%q:"success"}}`, request.Target[1], request.Target[1], request.Target[0])
	}))
	server.Config.ConnState = countNew(&connections)
	server.Start()
	defer server.Close()
	client := newClient(t, server.URL, func(c *Config) { c.MaxConns = workers })
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := range calls {
				name := fmt.Sprintf("w%dc%d", worker, i)
				got, err := client.Send(t.Context(), usersCall(name, name+"x"))
				want := Answer{Failed: []TargetFailure{{1, "failed " + name + "x"}}}
				if err != nil || !cmp.Equal(want, got) {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}
		})
	}
	all.Wait()
	if n := connections.Load(); n > workers*calls/2 {
		t.Errorf("%d connections for %d workers", n, workers)
	}
}

// countNew counts a server's connections.
func countNew(n *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}
