package chatsim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const tokenURL = "/chat-demo/testapp/token"

// tokenRequest asks for a token; more is put behind the last field.
func tokenRequest(secret, more string) string {
	return fmt.Sprintf(`{"grant_type":"client_credentials","client_id":"demo-client","client_secret":%q%s}`, secret, more)
}

func TestTokenIsFetchedAndAccepted(t *testing.T) {
	s := newSim(t, func(c *Config) { c.Token = "" })
	got := s.call(t, tokenURL, tokenRequest("demo-secret", ""))
	if got.Status != http.StatusOK || got.Token == "" || got.ExpiresIn != 24*3600 || !strings.Contains(got.Text, `"application":"`) {
		t.Fatalf("got %d %s", got.Status, got.Text)
	}
	if again := s.call(t, tokenURL, tokenRequest("demo-secret", `,"ttl":0`)); again.Token == got.Token || again.ExpiresIn != 24*3600 {
		t.Errorf("again: %s", again.Text)
	}
	if answer := s.call(t, unifiedPath, hello, bearer(got.Token)); answer.Status != http.StatusOK {
		t.Errorf("with the token: %d %s", answer.Status, answer.Text)
	}
	if answer := s.call(t, unifiedPath, hello); answer.Status != http.StatusUnauthorized {
		t.Errorf("with a fixed token that is not set: %d", answer.Status)
	}
	if st := s.Stats(); st.TokenCalls != 2 || st.TokensIssued != 2 || st.Calls != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestTokenRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, body  string
		status      int
		error       string
		description string
	}{
		{"wrong secret", tokenRequest("guess", ""), 400, "invalid_grant", "client_secret does not match"},
		{"wrong id", `{"grant_type":"client_credentials","client_id":"x","client_secret":"demo-secret"}`, 400, "invalid_grant", "client_id does not match"},
		{"no id", `{"grant_type":"client_credentials","client_secret":"demo-secret"}`, 400, "illegal_argument", "client_id must be provided"},
		{"no secret", `{"grant_type":"client_credentials","client_id":"demo-client"}`, 400, "illegal_argument", "client_secret must be provided"},
		{"wrong grant", `{"grant_type":"password","client_id":"demo-client","client_secret":"demo-secret"}`, 400, "illegal_argument", "grant_type"},
		{"ttl as text", tokenRequest("demo-secret", `,"ttl":"60"`), 400, "illegal_argument", "ttl"},
		{"negative ttl", tokenRequest("demo-secret", `,"ttl":-1`), 400, "illegal_argument", "ttl"},
		{"a form", "grant_type=client_credentials", 400, "json_parse", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, nil)
			got := s.call(t, tokenURL, tt.body)
			if got.Status != tt.status || got.Error != tt.error || !strings.Contains(got.Description, tt.description) {
				t.Errorf("got %d %s", got.Status, got.Text)
			}
			if st := s.Stats(); st.TokenCalls != 1 || st.TokensIssued != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
	t.Run("GET", func(t *testing.T) {
		got := newSim(t, nil).call(t, tokenURL, "", func(r *http.Request) { r.Method = http.MethodGet })
		if got.Status != http.StatusMethodNotAllowed || got.Header.Get("Allow") != http.MethodPost {
			t.Errorf("got %d %s", got.Status, got.Text)
		}
	})
	t.Run("wrong content type", func(t *testing.T) {
		got := newSim(t, nil).call(t, tokenURL, tokenRequest("demo-secret", ""), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
		if got.Status != http.StatusUnsupportedMediaType {
			t.Errorf("got %d %s", got.Status, got.Text)
		}
	})
	t.Run("none can be fetched", func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.ClientID, c.ClientSecret = "", "" })
		if got := s.call(t, tokenURL, tokenRequest("", "")); got.Status != http.StatusBadRequest {
			t.Errorf("got %d %s", got.Status, got.Text)
		}
	})
}

func TestTokensDie(t *testing.T) {
	status := func(t *testing.T, s *Server, token, want string) {
		t.Helper()
		got := s.call(t, unifiedPath, hello, bearer(token))
		if got.Status == http.StatusOK != (want == "") || !strings.Contains(got.Description, want) {
			t.Errorf("got %d %s, want %q", got.Status, got.Text, want)
		}
	}
	t.Run("when they expire", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, func(c *Config) { c.TokenTTL = time.Hour })
			short := s.call(t, tokenURL, tokenRequest("demo-secret", `,"ttl":60`))
			long := s.call(t, tokenURL, tokenRequest("demo-secret", `,"ttl":9999999`))
			if short.ExpiresIn != 60 || long.ExpiresIn != 3600 {
				t.Errorf("they expire in %d and %d s", short.ExpiresIn, long.ExpiresIn)
			}
			<-time.After(time.Minute - time.Nanosecond)
			status(t, s, short.Token, "")
			<-time.After(time.Nanosecond)
			status(t, s, short.Token, "expired")
			status(t, s, long.Token, "")
			<-time.After(time.Hour)
			status(t, s, long.Token, "expired")
			status(t, s, "demo-token", "")
		})
	})
	t.Run("after so many calls", func(t *testing.T) {
		s := newSim(t, func(c *Config) { c.TokenCalls = 2 })
		token := s.call(t, tokenURL, tokenRequest("demo-secret", "")).Token
		status(t, s, token, "")
		status(t, s, token, "")
		status(t, s, token, "expired")
		status(t, s, s.call(t, tokenURL, tokenRequest("demo-secret", "")).Token, "")
	})
	t.Run("when they are revoked", func(t *testing.T) {
		s := newSim(t, nil)
		token := s.call(t, tokenURL, tokenRequest("demo-secret", "")).Token
		secrets := Secrets{Token: "other", ClientID: "demo-client", ClientSecret: "new"}
		s.SetSecrets(secrets, false)
		status(t, s, token, "")
		status(t, s, "demo-token", "corrupt")
		status(t, s, "other", "")
		if got := s.call(t, tokenURL, tokenRequest("demo-secret", "")); got.Error != "invalid_grant" {
			t.Errorf("old secret: %d %s", got.Status, got.Text)
		}
		s.SetSecrets(secrets, true)
		status(t, s, token, "expired")
		status(t, s, s.call(t, tokenURL, tokenRequest("new", "")).Token, "")
	})
}
