package tasks

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/redisconn"
	"crier/internal/redistest"
)

const (
	clientSecret = "YXA6-client-secret-0123456789"
	accessToken  = "YWMt-access-token-0123456789"
)

// tokenStore is the store of one process.
func tokenStore(client redis.UniversalClient, changes ...func(*TokenStoreConfig)) *TokenStore {
	cfg := TokenStoreConfig{
		Namespace: "test", App: "org/app", ClientID: "client",
		Secret: func() (string, error) { return clientSecret, nil },
	}
	for _, change := range changes {
		change(&cfg)
	}
	return NewTokenStore(client, cfg, slog.New(slog.DiscardHandler))
}

// onBoth runs a test on a real Redis and on the embedded one.
func onBoth(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { test(t, redistest.Start(t).Client()) })
	t.Run("embedded", func(t *testing.T) {
		conn, err := redisconn.Open("embedded:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		test(t, conn.Client)
	})
}

func wantShared(t *testing.T, s *TokenStore, want apiclient.Token) {
	t.Helper()
	got, err := s.Load(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, token (-want +got):\n%s", err, diff)
	}
}

func save(t *testing.T, s *TokenStore, token apiclient.Token) {
	t.Helper()
	if err := s.Save(t.Context(), token); err != nil {
		t.Fatal(err)
	}
}

func TestTokenIsShared(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		mine, yours := tokenStore(client), tokenStore(client)
		wantShared(t, yours, apiclient.Token{})
		now := time.Now().UTC()
		token := apiclient.Token{Value: accessToken, Issued: now, Expires: now.Add(time.Hour)}
		save(t, mine, token)
		wantShared(t, yours, token)
		life := client.PTTL(t.Context(), mine.key("value")).Val()
		if life <= 59*time.Minute || life > time.Hour {
			t.Errorf("it is kept for %v", life)
		}

		if err := yours.Accepted(t.Context(), token); err != nil {
			t.Error(err)
		}
		next := token
		token.Accepted = true
		wantShared(t, mine, token)
		next.Value += "-2"
		save(t, mine, next)
		wantShared(t, yours, next) // which nobody has accepted yet

		for _, other := range []func(*TokenStoreConfig){
			func(c *TokenStoreConfig) { c.Secret = func() (string, error) { return "another secret", nil } },
			func(c *TokenStoreConfig) { c.ClientID = "another" },
			func(c *TokenStoreConfig) { c.App = "org/another" },
			func(c *TokenStoreConfig) { c.Namespace = "another" },
		} {
			wantShared(t, tokenStore(client, other), apiclient.Token{})
		}
		for _, damaged := range []string{"", "x", strings.Repeat("x", 100)} {
			client.Set(t.Context(), mine.key("value"), damaged, 0)
			wantShared(t, mine, apiclient.Token{})
		}
	})
}

func TestTokenIsKeptForItsLife(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	s := tokenStore(client)
	for said, want := range map[time.Duration]time.Duration{0: unknownLife, 365 * 24 * time.Hour: longestLife, time.Minute: time.Minute} {
		token := apiclient.Token{Value: accessToken}
		if said > 0 {
			token.Expires = time.Now().Add(said)
		}
		save(t, s, token)
		if life := client.PTTL(t.Context(), s.key("value")).Val(); life > want || life < want-10*time.Second {
			t.Errorf("a life of %v is kept for %v", said, life)
		}
	}
	client.Del(t.Context(), s.key("value"))
	save(t, s, apiclient.Token{Value: accessToken, Expires: time.Now().Add(-time.Second)})
	wantShared(t, s, apiclient.Token{})
}

// Whoever reads Redis sees neither the token nor the secret.
func TestTokenIsSealed(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	s := tokenStore(client)
	token := apiclient.Token{Value: accessToken}
	save(t, s, token)
	first := client.Get(t.Context(), s.key("value")).Val()
	save(t, s, token)
	if err := s.Accepted(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	keys := client.Keys(t.Context(), "*").Val()
	if len(keys) != 3 {
		t.Errorf("keys %q", keys)
	}
	for _, key := range keys {
		value := client.Get(t.Context(), key).Val()
		for _, hidden := range []string{accessToken, clientSecret, base64.StdEncoding.EncodeToString([]byte(accessToken))[:30]} {
			if strings.Contains(key+value, hidden) || value == first {
				t.Errorf("%s holds %q", key, value)
			}
		}
		if client.PTTL(t.Context(), key).Val() <= 0 {
			t.Errorf("%s stays for ever", key)
		}
	}
}

// The key follows the secret: after a change there is no token until one is
// fetched with the new secret.
func TestTokenOfAChangedSecret(t *testing.T) {
	t.Parallel()
	secret, err := "old", error(nil)
	s := tokenStore(redistest.Start(t).Client(), func(c *TokenStoreConfig) { c.Secret = func() (string, error) { return secret, err } })
	token := apiclient.Token{Value: accessToken}
	save(t, s, token)
	secret = "new"
	wantShared(t, s, apiclient.Token{})
	save(t, s, token)
	wantShared(t, s, token)
	err = errors.New("no such file")
	if _, got := s.Load(t.Context()); !errors.Is(got, err) {
		t.Errorf("load: %v", got)
	}
	if got := s.Save(t.Context(), token); !errors.Is(got, err) {
		t.Errorf("save: %v", got)
	}
}

func TestLeaveToFetch(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	mine, yours := tokenStore(client), tokenStore(client)
	acquire := func(s *TokenStore, d time.Duration, want bool) {
		t.Helper()
		if got, err := s.Acquire(t.Context(), d); got != want || err != nil {
			t.Errorf("leave: %v, %v", got, err)
		}
	}
	acquire(mine, time.Minute, true)
	acquire(yours, time.Minute, false)
	acquire(mine, time.Hour, true)
	if left := client.PTTL(t.Context(), mine.key("fetch")).Val(); left <= time.Minute {
		t.Errorf("it lasts for %v", left)
	}
	const short = 50 * time.Millisecond
	acquire(mine, short, true)
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if got, err := yours.Acquire(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		} else if got {
			break
		}
		<-tick.C
	}
	if waited := time.Since(began); waited < short-5*time.Millisecond {
		t.Errorf("the leave of another ended after %v", waited)
	}
	acquire(mine, time.Minute, false)
}

// A Redis that is away is logged now and then, and no secret with it.
func TestTokenStoreFails(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	s := tokenStore(client)
	s.log = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(gone); err == nil || lines.Len() > 0 {
		t.Errorf("the caller gave up: %v, log %s", err, &lines)
	}
	for range 3 {
		_, loadErr := s.Load(t.Context())
		_, leaveErr := s.Acquire(t.Context(), time.Second)
		saveErr, acceptErr := s.Save(t.Context(), apiclient.Token{Value: accessToken}), s.Accepted(t.Context(), apiclient.Token{Value: accessToken})
		for _, err := range []error{loadErr, leaveErr, saveErr, acceptErr} {
			if err == nil || strings.Contains(err.Error(), "0123456789") {
				t.Errorf("error %v", err)
			}
		}
	}
	if text := lines.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "0123456789") || !strings.Contains(text, `"doing":"load"`) {
		t.Errorf("log: %s", text)
	}
}
