package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeAPI issues tokens and takes only those that are good.
type fakeAPI struct {
	fetched atomic.Int32
	sent    atomic.Int32
	good    func(token string) bool
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600}`, f.fetched.Add(1))
		return
	}
	f.sent.Add(1)
	if !f.good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprint(w, `{"data":{"a":"success"}}`)
}

// hasty makes a source's times short, for tests against a server.
func hasty(s *Credentials) { s.interval, s.patience = 20*time.Millisecond, 5*time.Second }

// sendAll makes calls at the same time, all of which must succeed.
func sendAll(t *testing.T, client *Client, calls int) {
	t.Helper()
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// The token dies while calls are under way: one fetch for all, every call made
// once more, and all of them succeed.
func TestSendRenewsTheToken(t *testing.T) {
	const workers = 20
	var good atomic.Value
	good.Store("token-1")
	api := &fakeAPI{good: func(token string) bool { return token == good.Load() }}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
	hasty(tokens)
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	sendAll(t, client, workers)
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 1 || sent != workers {
		t.Errorf("%d fetches, %d calls", fetched, sent)
	}
	good.Store("token-2")
	sendAll(t, client, workers)
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 2 || sent > 3*workers {
		t.Errorf("then %d fetches, %d calls", fetched, sent)
	}
}

// Each token is good for a few calls only: nothing of that is a wrong setting,
// and nearly no fetch is wasted.
func TestSendShortLivedTokens(t *testing.T) {
	const calls, each = 30, 6
	var mu sync.Mutex
	shown := map[string]int{}
	api := &fakeAPI{good: func(token string) bool {
		mu.Lock()
		defer mu.Unlock()
		shown[token]++
		return shown[token] <= each
	}}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
	hasty(tokens)
	tokens.interval = 250 * time.Millisecond // by then all answers to calls with a token are in
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for range calls / 6 {
				for {
					_, err := client.Send(t.Context(), usersCall("a"))
					if err == nil {
						break
					}
					if asError(err).Kind != KindNoToken {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	if fetched := api.fetched.Load(); fetched > calls/each+1 {
		t.Errorf("%d fetches", fetched)
	}
}

// A token straight from the endpoint that the API does not take: wrong settings.
func TestSendFreshTokenRefused(t *testing.T) {
	var taken atomic.Bool
	api := &fakeAPI{good: func(string) bool { return taken.Load() }}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
	tokens.interval = 500 * time.Millisecond
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	for range 2 { // the second without a request
		if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized || e.Status != 401 {
			t.Errorf("%+v", *e)
		}
	}
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 1 || sent != 1 {
		t.Errorf("%d fetches, %d calls", fetched, sent)
	}
	taken.Store(true)
	<-time.After(tokens.interval)
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Errorf("after it was set right: %v", err)
	}
}

// An answer that cannot be read is no less a sign that the token was taken.
func TestSendUnreadableAnswerAcceptsTheToken(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			_, _ = fmt.Fprint(w, `{"access_token":"token-1"}`)
		}
	})
	tokens := newTokens(t, server.URL)
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnknown {
		t.Errorf("%+v", *e)
	}
	if !tokens.held.accepted {
		t.Error("the token counts as never accepted")
	}
}

// The old token has expired and the new one is refused: one replay, no more.
func TestSendRenewedTokenRefused(t *testing.T) {
	var only atomic.Value
	only.Store("token-1")
	api := &fakeAPI{good: func(token string) bool { return token == only.Load() }}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
	hasty(tokens)
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	only.Store("none")
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized {
		t.Errorf("%+v", *e)
	}
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 2 || sent != 3 {
		t.Errorf("%d fetches, %d calls", fetched, sent)
	}
}

// Tokens that were good have died one after the other: a few replays, and then
// no failed attempt, for nothing was carried out.
func TestSendTokensKeepDying(t *testing.T) {
	var sent atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		sent.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	})
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = hopeful{} })
	e := wantError(t.Context(), t, client, usersCall("a"))
	if e.Kind != KindNoToken || e.Status != 401 || sent.Load() != 1+maxReplays {
		t.Errorf("%+v after %d calls", *e, sent.Load())
	}
}

// A token in a file is read again when it is refused, and only then.
func TestSendReadsTheTokenAgain(t *testing.T) {
	var good, file atomic.Value
	good.Store("token-1")
	file.Store(" token-1\n")
	api := &fakeAPI{good: func(token string) bool { return token == good.Load() }}
	server := serve(t, api.ServeHTTP)
	var reads atomic.Int32
	client := newClient(t, server.URL, func(c *Config) {
		c.Tokens = ReadToken(func() (string, error) {
			reads.Add(1)
			if file.Load() == "" {
				return "", errOther
			}
			return file.Load().(string), nil
		})
	})
	sendAll(t, client, 5)
	if n := reads.Load(); n != 1 {
		t.Errorf("read %d times", n)
	}
	good.Store("token-2")
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized || e.Status != 401 {
		t.Errorf("%+v", *e)
	}
	file.Store("")
	for range 2 {
		if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized {
			t.Errorf("%+v", *e)
		}
	}
	file.Store("a b")
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized || !errors.Is(e, errBadToken) {
		t.Errorf("%+v", *e)
	}
	file.Store("token-2")
	sendAll(t, client, 5)
	good.Store("token-3")
	file.Store("token-3")
	sendAll(t, client, 5)
}

// hopeful is a source that always expects the next token to do.
type hopeful struct{}

func (hopeful) Token(context.Context) (string, error) { return testToken, nil }
func (hopeful) Accepted(string)                       {}
func (hopeful) Rejected(string) bool                  { return true }
func (hopeful) Close()                                {}

// failing is a source of another make.
type failing struct{ hopeful }

var errOther = errors.New("no luck")

func (failing) Token(context.Context) (string, error) { return "", errOther }

func TestSendForeignTokenError(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:1", func(c *Config) { c.Tokens = failing{} })
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindNoToken || !errors.Is(e, errOther) {
		t.Errorf("%+v", *e)
	}
}
