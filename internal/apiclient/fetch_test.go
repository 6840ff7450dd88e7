package apiclient

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newTokens returns a source that fetches from url.
func newTokens(t *testing.T, url string, change ...func(*CredentialsConfig)) *Credentials {
	t.Helper()
	config := CredentialsConfig{
		BaseURL: url, Org: "chat-demo", App: "testapp", ClientID: "YXA6id",
		Secret: func() (string, error) { return testSecret, nil }, Timeout: 5 * time.Second,
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
	if life := s.held.Expires.Sub(s.held.Issued); life != 60*24*time.Hour {
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
		if !s.held.Expires.IsZero() {
			life = s.held.Expires.Sub(s.held.Issued)
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
		{"throttled", 429, fixture(t, "429_reach_limit.json"), KindNoToken},
		{"throttled in another way", 403, fixture(t, "403_reach_limit.json"), KindNoToken},
		{"plan", 429, fixture(t, "429_resource_limited.json"), KindPlan},
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
	config := CredentialsConfig{ClientID: "id", Secret: func() (string, error) { return testSecret, nil }}
	token := Token{Value: testToken, Expires: time.Now()}
	s := newTokens(t, server.URL)
	shown := fmt.Sprintf("%v %+v %v %+v %v %v", config, config, token, token, Token{Value: testToken}, Config{Tokens: s}) +
		fmt.Sprint(s, FixedToken(testToken))
	if strings.Contains(shown, "0123456789") {
		t.Error(shown)
	}
	if err := (CredentialsConfig{BaseURL: "http://u:" + testSecret + "@h"}).Validate(); strings.Contains(err.Error(), "0123") {
		t.Error(err)
	}
}

func TestCredentialsConfigValidate(t *testing.T) {
	_, err := ClientCredentials(CredentialsConfig{BaseURL: "https://h", Org: "o"})
	const want = "apiclient: App: is required\nClientID: is required\nSecret: is required\nTimeout: must be more than 0"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
