package apiclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// issuer is a token endpoint without a network. Its tokens are T1, T2 and so on.
type issuer struct {
	life  time.Duration // 0 = no expiry said
	takes time.Duration
	fail  atomic.Pointer[Error] // nil = it gives a token
	count atomic.Int32
}

func (i *issuer) fetch(ctx context.Context) (Token, *Error) {
	issued := time.Now()
	n := i.count.Add(1)
	select {
	case <-time.After(i.takes):
	case <-ctx.Done():
		return Token{}, &Error{Kind: KindUnavailable, Err: ctx.Err()}
	}
	if e := i.fail.Load(); e != nil {
		return Token{}, e
	}
	t := Token{Value: fmt.Sprintf("T%d", n), Issued: issued}
	if i.life > 0 {
		t.Expires = issued.Add(i.life)
	}
	return t, nil
}

// pass lets time go by in a synctest bubble, and all that is due in it happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// fetches fails unless there were so many.
func (i *issuer) fetches(t *testing.T, want int32) {
	t.Helper()
	if got := i.count.Load(); got != want {
		t.Errorf("%d fetches, want %d", got, want)
	}
}

// wantToken fails unless the source gives this one at once.
func wantToken(t *testing.T, s TokenSource, want string) {
	t.Helper()
	began := time.Now()
	got, err := s.Token(t.Context())
	if err != nil || got != want {
		t.Errorf("token %q, %v, want %q", got, err, want)
	}
	if waited := time.Since(began); waited > 0 {
		t.Errorf("waited %v for %q", waited, want)
	}
}

// noToken fails unless the source has none, and returns why.
func noToken(t *testing.T, s TokenSource) *Error {
	t.Helper()
	token, err := s.Token(t.Context())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("token %q, error %v", token, err)
	}
	return e
}

func TestTokenIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: 60 * 24 * time.Hour, takes: time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got, err := s.Token(t.Context()); got != "T1" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		all.Wait()
		pass(59 * 24 * time.Hour) // seconds are seconds: a life in milliseconds would be over
		wantToken(t, s, "T1")
		api.fetches(t, 1)
	})
}

func TestTokenIsRenewedAhead(t *testing.T) {
	tests := []struct {
		life, at time.Duration
	}{
		{60 * 24 * time.Hour, 60*24*time.Hour - 5*time.Minute},
		{time.Hour, 55 * time.Minute},
		{50 * time.Minute, 45 * time.Minute},
		{10 * time.Minute, 9 * time.Minute},
		{time.Minute, 54 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &issuer{life: tt.life}
				s := newCredentials(api.fetch, nil)
				defer s.Close()
				wantToken(t, s, "T1")
				pass(tt.at - time.Millisecond)
				wantToken(t, s, "T1")
				synctest.Wait()
				api.fetches(t, 1)

				api.takes = 3 * time.Second
				pass(time.Millisecond)
				for range 10 { // nobody waits while the old one serves
					wantToken(t, s, "T1")
				}
				synctest.Wait()
				api.fetches(t, 2)
				pass(api.takes)
				synctest.Wait()
				wantToken(t, s, "T2")
				api.fetches(t, 2)
			})
		})
	}
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Hour}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(time.Hour)
		api.takes = time.Second
		if got, err := s.Token(t.Context()); got != "T2" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestTokenWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(10 * 365 * 24 * time.Hour)
		wantToken(t, s, "T1")
	})
}

// While renewal fails the old token serves to its end, and the endpoint is left
// in peace for 2 s, or as long as it asks.
func TestTokenRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Hour}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		wantToken(t, s, "T1")
		pass(55 * time.Minute)
		api.fail.Store(&Error{Kind: KindUnavailable, Status: 503})
		for range 40 { // 10 s
			wantToken(t, s, "T1")
			pass(250 * time.Millisecond)
		}
		api.fetches(t, 1+5)
		api.fail.Store(&Error{Kind: KindUnavailable, Status: 429, RetryAfter: time.Minute})
		for range 8 { // 2 min
			pass(15 * time.Second)
			wantToken(t, s, "T1")
		}
		synctest.Wait()
		api.fetches(t, 1+5+2)
		pass(5 * time.Minute)
		if e := noToken(t, s); e.Kind != KindUnavailable || e.Status != 429 || e.RetryAfter != time.Minute {
			t.Errorf("%+v", *e)
		}
		pass(20 * time.Second)
		if e := noToken(t, s); e.RetryAfter != 40*time.Second {
			t.Errorf("20 s later: %+v", *e)
		}
		api.fail.Store(nil)
		pass(40 * time.Second)
		wantToken(t, s, "T10")
	})
}

func TestTokenFirstFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: time.Second}
		api.fail.Store(&Error{Kind: KindUnauthorized, Status: 401, Code: "unauthorized"})
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if e := noToken(t, s); e.Kind != KindUnauthorized || e.RetryAfter != 2*time.Second {
					t.Errorf("%+v", *e)
				}
			})
		}
		all.Wait()
		api.fetches(t, 1)
		pass(1999 * time.Millisecond)
		_ = noToken(t, s)
		api.fetches(t, 1)
		api.fail.Store(nil)
		pass(time.Millisecond)
		if got, err := s.Token(t.Context()); got != "T2" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A caller that goes does not take the fetch of the others with it.
func TestTokenCallerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: 10 * time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Token(ctx)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if got, err := s.Token(t.Context()); got != "T1" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		api.fetches(t, 1)
	})
}

func TestTokenRejected(t *testing.T) {
	t.Run("after it was accepted: renewed, once for all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour, takes: time.Second}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			if _, err := s.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Accepted("T1")
			pass(10 * time.Minute)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if !s.Rejected("T1") {
						t.Error("no hope")
					}
					if got, err := s.Token(t.Context()); got != "T2" || err != nil {
						t.Errorf("%q, %v", got, err)
					}
				})
			}
			all.Wait()
			if !s.Rejected("T1") { // a late answer
				t.Error("no hope for a late one")
			}
			wantToken(t, s, "T2")
			api.fetches(t, 2)
		})
	})
	t.Run("soon after it was accepted: renewed 2 s after the fetch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			began := time.Now()
			s.Accepted("T1")
			pass(500 * time.Millisecond)
			s.Rejected("T1")
			got, err := s.Token(t.Context())
			if waited := time.Since(began); got != "T2" || err != nil || waited != 2*time.Second {
				t.Errorf("%q, %v after %v", got, err, waited)
			}
		})
	})
	t.Run("never accepted: wrong settings, but tried again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			for range 3 { // calls that were under way together
				if s.Rejected("T1") {
					t.Error("hope")
				}
			}
			if e := noToken(t, s); e.Kind != KindUnauthorized || e.Status != 401 || e.RetryAfter != 2*time.Second {
				t.Errorf("%+v", *e)
			}
			api.fetches(t, 1)
			pass(2 * time.Second)
			wantToken(t, s, "T2")
			s.Accepted("T2")
			wantToken(t, s, "T2")
		})
	})
	t.Run("the renewed one is wrong too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, nil)
			defer s.Close()
			wantToken(t, s, "T1")
			s.Accepted("T1")
			pass(time.Minute)
			if !s.Rejected("T1") {
				t.Error("no hope")
			}
			wantToken(t, s, "T2")
			s.Accepted("T1") // a late answer says nothing of the new one
			if s.Rejected("T2") {
				t.Error("hope")
			}
		})
	})
}

func TestTokenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{takes: time.Hour}
		s := newCredentials(api.fetch, nil)
		got := make(chan error)
		go func() {
			_, err := s.Token(t.Context())
			got <- err
		}()
		synctest.Wait()
		began := time.Now()
		go s.Close()
		var e *Error
		if err := <-got; !errors.As(err, &e) || e.Kind != KindUnavailable || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if e := noToken(t, s); !errors.Is(e, errClosed) {
			t.Errorf("%+v", *e)
		}
		api.fetches(t, 1)
	})
}

func TestTokenStillborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{life: time.Second, takes: 2 * time.Second}
		s := newCredentials(api.fetch, nil)
		defer s.Close()
		if e := noToken(t, s); e.Kind != KindUnavailable || !errors.Is(e, errStillborn) {
			t.Errorf("%+v", *e)
		}
	})
}

// sharedToken is a Store of one process.
type sharedToken struct {
	mu    sync.Mutex
	token Token
	leave time.Time // of the last one given
	err   error     // nil = it works
}

func (s *sharedToken) Load(context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.err
}

func (s *sharedToken) Save(_ context.Context, t Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.token = t
	}
	return s.err
}

func (s *sharedToken) Acquire(context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || time.Since(s.leave) < fetchInterval {
		return false, s.err
	}
	s.leave = time.Now()
	return true, nil
}

func TestTokenShared(t *testing.T) {
	fleet := func(api *issuer, store Store) (sources [10]*Credentials) {
		for i := range sources {
			sources[i] = newCredentials(api.fetch, store)
		}
		return sources
	}
	each := func(t *testing.T, sources [10]*Credentials, want string) {
		t.Helper()
		var all sync.WaitGroup
		for _, s := range sources {
			all.Go(func() {
				if got, err := s.Token(t.Context()); err != nil || want != "" && got != want {
					t.Errorf("%q, %v, want %q", got, err, want)
				}
			})
		}
		all.Wait()
	}
	t.Run("one fetch for the fleet, also after a 401", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour, takes: time.Second}
			sources := fleet(api, new(sharedToken))
			each(t, sources, "T1")
			for _, s := range sources {
				s.Accepted("T1")
			}
			pass(time.Minute)
			for _, s := range sources {
				if !s.Rejected("T1") {
					t.Error("no hope")
				}
			}
			each(t, sources, "T2")
			api.fetches(t, 2)
			pass(56 * time.Minute) // due
			each(t, sources, "T2")
			pass(2 * time.Second)
			each(t, sources, "T3")
			api.fetches(t, 3)
			for _, s := range sources {
				s.Close()
			}
		})
	})
	t.Run("a dead token in the store is no wrong setting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, &sharedToken{token: Token{Value: "old", Expires: time.Now().Add(time.Hour)}})
			defer s.Close()
			wantToken(t, s, "old")
			if !s.Rejected("old") {
				t.Error("no hope")
			}
			wantToken(t, s, "T1")
		})
	})
	t.Run("an expired token in the store is not used", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			s := newCredentials(api.fetch, &sharedToken{token: Token{Value: "old", Expires: time.Now()}})
			defer s.Close()
			wantToken(t, s, "T1")
		})
	})
	t.Run("a broken store leaves each to itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			sources := fleet(api, &sharedToken{err: errors.New("down")})
			each(t, sources, "")
			api.fetches(t, 10)
			for _, s := range sources {
				s.Close()
			}
		})
	})
	t.Run("another process has the leave and comes to nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := &issuer{life: time.Hour}
			store := &sharedToken{leave: time.Now().Add(time.Hour)}
			s := newCredentials(api.fetch, store)
			defer s.Close()
			began := time.Now()
			e := noToken(t, s)
			if e.Kind != KindUnavailable || !errors.Is(e, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
				t.Errorf("%+v after %v", *e, time.Since(began))
			}
			api.fetches(t, 0)
		})
	})
}

// newTokens returns a source that fetches from url.
func newTokens(t *testing.T, url string, change ...func(*CredentialsConfig)) *Credentials {
	t.Helper()
	config := CredentialsConfig{
		BaseURL: url, Org: "chat-demo", App: "testapp", ClientID: "YXA6id", ClientSecret: testSecret, Timeout: 5 * time.Second,
	}
	for _, c := range change {
		c(&config)
	}
	s, err := ClientCredentials(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

const testSecret = `YXA6/client"secret_0123456789`

func TestFetchToken(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var got map[string]string
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		want := map[string]string{"grant_type": "client_credentials", "client_id": "YXA6id", "client_secret": testSecret}
		if diff := cmp.Diff(want, got); diff != "" || r.URL.String() != "/chat-demo/testapp/token" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s with %v: %s", r.URL, r.Header, diff)
		}
		_, _ = fmt.Fprint(w, fixture(t, "token_200.json"))
	})
	var seen []string
	s := newTokens(t, server.URL, func(c *CredentialsConfig) {
		c.Observe = func(endpoint string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprint(endpoint, " ", status))
		}
	})
	got, err := s.Token(t.Context())
	if err != nil || got != "YWMtAccessTokenOfTheFixture0123456789" {
		t.Fatalf("%q, %v", got, err)
	}
	if life := s.token.Expires.Sub(s.token.Issued); life != 60*24*time.Hour {
		t.Errorf("lives %v", life)
	}
	if diff := cmp.Diff([]string{"token 200"}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestFetchTokenLives(t *testing.T) {
	for said, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, `1.5`: 1500 * time.Millisecond, `1e300`: maxLife, `null`: 0, `0`: 0, `-1`: 0,
	} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"access_token":"YWMt","expires_in":%s}`, said)
		})
		s := newTokens(t, server.URL)
		if _, err := s.Token(t.Context()); err != nil {
			t.Errorf("%s: %v", said, err)
			continue
		}
		var life time.Duration
		if !s.token.Expires.IsZero() {
			life = s.token.Expires.Sub(s.token.Issued)
		}
		if life != want {
			t.Errorf("%s lives %v, want %v", said, life, want)
		}
	}
}

func TestFetchTokenFails(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   Kind
	}{
		{"wrong credentials", 401, fixture(t, "token_401_invalid_credentials.json"), KindUnauthorized},
		{"invalid grant", 400, fixture(t, "token_400_invalid_grant.json"), KindUnauthorized},
		{"forbidden", 403, fixture(t, "403_forbidden_op.json"), KindUnauthorized},
		{"unknown app", 404, fixture(t, "404_organization_application_not_found.json"), KindUnknownApp},
		{"redirect", 302, "", KindUnknownApp},
		{"throttled", 429, fixture(t, "429_reach_limit.json"), KindUnavailable},
		{"throttled in another way", 403, fixture(t, "403_reach_limit.json"), KindUnavailable},
		{"plan", 429, fixture(t, "429_resource_limited.json"), KindUnavailable},
		{"timeout there", 408, "", KindUnavailable},
		{"away", 503, fixture(t, "503_html.html"), KindUnavailable},
		{"error", 500, fixture(t, "500_web_application.json"), KindUnavailable},
		{"gateway", 502, fixture(t, "502_html.html"), KindUnavailable},
		{"no JSON", 200, "<html>", KindUnavailable},
		{"truncated", 200, `{"access_token":"YWMtAccess","expires_in":`, KindUnavailable},
		{"no token", 200, `{"expires_in":3600}`, KindUnavailable},
		{"a token that no header takes", 200, `{"access_token":"a\r\nb: c"}`, KindUnavailable},
		{"life in words", 200, `{"access_token":"YWMtAccess","expires_in":"soon"}`, KindUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(tt.status)
				_, _ = fmt.Fprint(w, tt.body)
			})
			client := newClient(t, server.URL, func(c *Config) { c.Tokens = newTokens(t, server.URL) })
			e := wantError(t.Context(), t, client, usersCall("a"))
			if e.Kind != tt.want || e.Status != tt.status || e.Scope != "" {
				t.Errorf("%v: %+v", e, *e)
			}
			if tt.status != 200 && (e.RetryAfter <= 29*time.Second || e.RetryAfter > 30*time.Second) {
				t.Errorf("retry after %v", e.RetryAfter)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", e, *e), "YWMtAccess") {
				t.Errorf("the token shows: %+v", *e)
			}
		})
	}
	t.Run("no connection", func(t *testing.T) {
		server := serve(t, nil)
		server.Close()
		if e := noToken(t, newTokens(t, server.URL)); e.Kind != KindUnavailable || !strings.Contains(e.Error(), "fetching a token: dial tcp") {
			t.Errorf("%v", e)
		}
	})
}

func TestClientSecretDoesNotShow(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		var said map[string]string
		_ = json.NewDecoder(r.Body).Decode(&said)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "unauthorized", "error_description": "wrong secret " + said["client_secret"]})
	})
	e := noToken(t, newTokens(t, server.URL))
	if shown := fmt.Sprintf("%v %+v", e, *e); strings.Contains(shown, "0123456789") || !strings.Contains(shown, masked) {
		t.Error(shown)
	}
	config := CredentialsConfig{ClientID: "id", ClientSecret: testSecret}
	token := Token{Value: testToken, Expires: time.Now()}
	s := newTokens(t, server.URL)
	shown := fmt.Sprintf("%v %+v %v %+v %v %v", config, config, token, token, Token{Value: testToken}, Config{Tokens: s}) + fmt.Sprint(s)
	if strings.Contains(shown, "0123456789") {
		t.Error(shown)
	}
	if err := (CredentialsConfig{ClientSecret: testSecret, BaseURL: "http://u:" + testSecret + "@h"}).Validate(); strings.Contains(err.Error(), "0123") {
		t.Error(err)
	}
}

func TestCredentialsConfigValidate(t *testing.T) {
	_, err := ClientCredentials(CredentialsConfig{BaseURL: "https://h", Org: "o"})
	const want = "apiclient: App: is required\nClientID: is required\nClientSecret: is required\nTimeout: must be more than 0"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

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

// wait over lets the next fetch happen at once.
func (s *Credentials) waitOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notAgain = time.Time{}
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
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	send := func() {
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	send()
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 1 || sent != workers {
		t.Errorf("%d fetches, %d calls", fetched, sent)
	}
	good.Store("token-2")
	tokens.waitOver()
	send()
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 2 || sent > 3*workers {
		t.Errorf("then %d fetches, %d calls", fetched, sent)
	}
}

// A token straight from the endpoint that the API does not take: wrong settings.
func TestSendFreshTokenRefused(t *testing.T) {
	var taken atomic.Bool
	api := &fakeAPI{good: func(string) bool { return taken.Load() }}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
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
	tokens.waitOver()
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
	if !tokens.Rejected("token-1") {
		t.Error("the token counts as never accepted")
	}
}

// The old token has expired and the new one is refused: one replay, no more.
func TestSendRenewedTokenRefused(t *testing.T) {
	api := &fakeAPI{good: func(token string) bool { return token == "token-1" }}
	server := serve(t, api.ServeHTTP)
	tokens := newTokens(t, server.URL)
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
		t.Fatal(err)
	}
	api.good = func(string) bool { return false }
	tokens.waitOver()
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnauthorized {
		t.Errorf("%+v", *e)
	}
	if fetched, sent := api.fetched.Load(), api.sent.Load(); fetched != 2 || sent != 3 {
		t.Errorf("%d fetches, %d calls", fetched, sent)
	}
}

// Two tokens that were good have died one after the other: still one replay.
func TestSendTwoExpiredTokens(t *testing.T) {
	var sent atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		sent.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	})
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = hopeful{} })
	e := wantError(t.Context(), t, client, usersCall("a"))
	if e.Kind != KindUnavailable || e.Status != 401 || sent.Load() != 2 {
		t.Errorf("%+v after %d calls", *e, sent.Load())
	}
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
	if e := wantError(t.Context(), t, client, usersCall("a")); e.Kind != KindUnavailable || !errors.Is(e, errOther) {
		t.Errorf("%+v", *e)
	}
}
